"""Drives the gateway at the first argument with the token on standard input; prints one line a call."""

import sys

from github import Auth, Github, GithubException

hub = Github(base_url=sys.argv[1], auth=Auth.Token(sys.stdin.read().strip()), retry=None)
alpha = hub.get_repo("acme/alpha", lazy=True)
calls = {
    "read": lambda: alpha.get_contents("docs/a b.md").decoded_content.decode(),
    "write": lambda: alpha.create_file("docs/a b.md", "m", ""),
    "other": lambda: hub.get_repo("acme/beta"),
    "search": lambda: list(hub.search_code("x")),
}
for name, call in calls.items():
    try:
        print(name, call())
    except GithubException as error:
        accepted = (error.headers or {}).get("x-accepted-github-permissions", "")
        print(name, error.status, error.data["message"], f"[{accepted}]")

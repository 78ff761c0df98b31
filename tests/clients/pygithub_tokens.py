"""Does the work of an organization's owner at the gateway at the first argument, with the credential on standard input;
prints one line a call. tests/it/api/clients.rs says what there is to find.

PyGithub has no methods for these endpoints, so its requester and its paging are driven with bare objects."""

import sys

from github import Auth, Github, GithubException
from github.PaginatedList import PaginatedList

hub = Github(base_url=sys.argv[1], auth=Auth.Token(sys.stdin.read().strip()), retry=None)
ORG = "/orgs/acme"
REQUESTS, GRANTS = f"{ORG}/personal-access-token-requests", f"{ORG}/personal-access-tokens"


class Bare(dict):
    """An entry of a list, as it came. Keeps the ids of the answers that entries came with."""

    answers = set()

    def __init__(self, _requester, headers, attributes):
        super().__init__(attributes)
        self.answers.add(headers["x-request-id"])


def entries(path, **filters):
    Bare.answers.clear()
    return list(PaginatedList(Bare, hub.requester, path, {"direction": "asc", **filters}))


def said(found, pages=None):
    return f"{' '.join(entry['token_name'] for entry in found)} on {pages or len(Bare.answers) or 1}"


def post(path, **body):
    status, _, _ = hub.requester.requestJson("POST", path, input=body)
    return status


def show(name, call):
    try:
        print(name, call())
    except GithubException as error:
        accepted = (error.headers or {}).get("x-accepted-github-permissions", "")
        print(name, error.status, error.data["message"], f"[{accepted}]")


requests = entries(REQUESTS, per_page=2)
show("requests", lambda: said(requests))
one = {entry["token_name"]: entry["id"] for entry in requests}
filters = {
    "owner": {"owner[]": "carol"},
    "owners": {"owner": "bob,carol", "per_page": 2},
    "repository": {"repository": "gamma"},
    "permission": {"permission": "issues"},
    "token": {"token_id[]": f"{requests[0]['token_id']},{requests[2]['token_id']}"},
    "unused": {"last_used_after": "2020-01-01T00:00:00Z"},
    "newest": {"direction": "desc", "sort": "created_at"},
}
for name, filter in filters.items():
    show(name, lambda: said(entries(REQUESTS, **filter)))
show(
    "repositories",
    lambda: " ".join(each["full_name"] for each in entries(f"{REQUESTS}/{one['one']}/repositories", per_page=1)),
)


def review(names, action):
    body = {"pat_request_ids": [one[name] for name in names], "action": action, "reason": "all"}
    return hub.requester.requestJson("POST", REQUESTS, input=body)[0]


def checked(path, **body):
    return hub.requester.requestJsonAndCheck("POST", path, input=body)


show("approve", lambda: post(f"{REQUESTS}/{one['one']}", action="approve"))
show("again", lambda: checked(f"{REQUESTS}/{one['one']}", action="approve"))
show("deny", lambda: review(["two"], "deny"))
show("approve all", lambda: review(["three", "four", "five"], "approve"))
show("wrong", lambda: checked(REQUESTS, pat_request_ids=[one["five"]], action="postpone"))
show("left", lambda: said(entries(REQUESTS)))

grants = entries(GRANTS, per_page=3)
show("grants", lambda: said(grants))
grant = {entry["token_name"]: entry["id"] for entry in grants}
show(
    "grant repositories",
    lambda: " ".join(each["full_name"] for each in entries(f"{GRANTS}/{grant['one']}/repositories")),
)
show("revoke", lambda: post(f"{GRANTS}/{grant['one']}", action="revoke"))
show("revoke all", lambda: post(GRANTS, action="revoke", pat_ids=[grant["three"], grant["four"]]))
show("kept", lambda: said(entries(GRANTS, owner="bob,carol")))


def audit():
    phrase = "action:personal_access_token.access_revoked"
    _, found = hub.requester.requestJsonAndCheck("GET", f"{ORG}/audit-log", parameters={"phrase": phrase})
    return " ".join(sorted(entry["user_programmatic_access_name"] for entry in found))


show("audit", audit)

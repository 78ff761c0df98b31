"""The configuration files of all programs, as text. Everything is as lean as its documentation advises: one
worker, connections kept alive on both sides, no access log, no compression."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from processes import Port
from tokens import Token

REST_BODY = '{"name":"README.md","path":"README.md","content":"' + "x" * 971 + '"}'
"""What the REST upstream answers: 1 KiB of JSON."""

REFUSAL = '{"message":"bad credentials"}'


@dataclass(frozen=True)
class Listen:
    """Where a program listens, and with what it speaks TLS."""

    plain: Port
    tls: Port
    certificate: Path
    key: Path


def nginx_head(directory: Path) -> str:
    """What all nginx configurations begin with: one worker in the foreground, all files below `directory`."""
    user = ""
    if os.geteuid() == 0:
        user = f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(os.getegid()).gr_name};\n"
    temporary = "".join(
        f"  {kind}_temp_path {directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""{user}daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
{temporary}  access_log off;
  default_type application/json;
  client_max_body_size 0;
  keepalive_timeout 75s;
  keepalive_requests 1000000000;
  tcp_nodelay on;
  types_hash_max_size 2048;
"""


def nginx_upstream(
    directory: Path, port: Port, files: Path, repositories: Path, fcgi: Path, backend: Path
) -> str:
    """The host behind all of them: 1 KiB of JSON, a large file, and git."""
    return (
        nginx_head(directory)
        + f"""
  server {{
    listen 127.0.0.1:{port} reuseport backlog=4096;
    location / {{ return 200 '{REST_BODY}'; }}
    location ~ /zipball/ {{
      sendfile on;
      default_type application/zip;
      alias {files}/large;
    }}
    location ~ ^/git(/.*)$ {{
      fastcgi_pass unix:{fcgi};
      fastcgi_buffering off;
      fastcgi_request_buffering off;
      fastcgi_read_timeout 600s;
      fastcgi_param SCRIPT_FILENAME {backend};
      fastcgi_param GIT_PROJECT_ROOT {repositories};
      fastcgi_param GIT_HTTP_EXPORT_ALL 1;
      fastcgi_param GIT_PROTOCOL $http_git_protocol;
      fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;
      fastcgi_param PATH_INFO $1;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param SERVER_PROTOCOL $server_protocol;
      fastcgi_param REMOTE_ADDR $remote_addr;
      fastcgi_param REMOTE_USER bench;
    }}
  }}
}}
"""
    )


def nginx_proxy(
    directory: Path,
    listen: Listen,
    upstream: Port,
    sink: Port,
    before: str = "",
    each: str = "",
    more: str = "",
) -> str:
    """nginx in front of the host; `before` stands in `http`, `each` in each location, `more` in the server.

    Where large bodies go it has large buffers: with its defaults, which are smaller, they cost it twice as
    much."""
    pool = "keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 75s;"
    forward = """proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
      proxy_read_timeout 600s;"""
    large = "proxy_buffer_size 64k; proxy_buffers 16 64k; proxy_busy_buffers_size 128k; client_body_buffer_size 64k;"
    return (
        nginx_head(directory)
        + f"""
{before}
  upstream host {{ server 127.0.0.1:{upstream}; {pool} }}
  upstream sink {{ server 127.0.0.1:{sink}; {pool} }}
  server {{
    listen 127.0.0.1:{listen.plain} reuseport backlog=4096;
    listen 127.0.0.1:{listen.tls} ssl http2 reuseport backlog=4096;
    http2_max_concurrent_streams 128;
    ssl_certificate {listen.certificate};
    ssl_certificate_key {listen.key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:1m;
    location / {{
      {each}
      {forward}
      proxy_pass http://host;
    }}
    location ~ /zipball/ {{
      {each}
      {forward}
      {large}
      proxy_pass http://host;
    }}
    location /git/ {{
      {forward}
      {large}
      proxy_buffering off;
      proxy_pass http://host;
    }}
    location /upload/ {{
      {each}
      {forward}
      {large}
      proxy_pass http://sink;
    }}
    {more}
  }}
}}
"""
    )


def nginx_map(tokens: list[Token]) -> tuple[str, str]:
    """A table of tokens: what stands in `http`, and what in each location."""
    rows = "".join(f'    "Bearer {token.text}" 1;\n' for token in tokens)
    before = f"""  map_hash_max_size 16384;
  map_hash_bucket_size 256;
  map $http_authorization $known {{
    default 0;
{rows}  }}"""
    return before, f"if ($known = 0) {{ return 401 '{REFUSAL}'; }}"


def nginx_auth_request(service: Port) -> tuple[str, str, str]:
    """A question to a local service before each request: what stands in `http`, in each location, and in the
    server."""
    before = f"  upstream authorizer {{ server 127.0.0.1:{service}; keepalive 1024; keepalive_requests 1000000000; }}"
    more = """location = /authorize {
      internal;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header X-Original-Method $request_method;
      proxy_set_header X-Original-URI $request_uri;
      proxy_pass http://authorizer/;
    }"""
    return before, "auth_request /authorize;", more


def haproxy(listen: Listen, pair: Path, upstream: Port, sink: Port, table: Path) -> str:
    """HAProxy with a table from token to `owner/repository`, which is compared with the path."""
    return f"""global
  nbthread 1
  maxconn 8192
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 75s
  http-reuse always
frontend all
  bind 127.0.0.1:{listen.plain} backlog 4096
  bind 127.0.0.1:{listen.tls} ssl crt {pair} alpn h2,http/1.1 backlog 4096
  http-request set-var(txn.scope) http_auth_bearer,map_str({table})
  acl git path_beg /git/
  acl upload path_beg /upload/
  acl known var(txn.scope) -m found
  acl granted path,field(3,/,2),strcmp(txn.scope) eq 0
  acl granted_upload path,field(4,/,2),strcmp(txn.scope) eq 0
  http-request return status 401 content-type application/json string "{REFUSAL.replace('"', chr(92) + '"')}" if !git !known
  http-request return status 404 content-type application/json string "{{}}" if !git !granted !granted_upload
  use_backend sink if upload
  default_backend host
backend host
  server host 127.0.0.1:{upstream} pool-max-conn 1024
backend sink
  server sink 127.0.0.1:{sink}
"""


def token_table(tokens: list[Token]) -> str:
    """One line for each token: its text, and the repository that it opens."""
    return "".join(f"{token.text} {token.scope}\n" for token in tokens)


def portcullis(
    listen: Listen, control: Port, upstream: Port, sink: Port, policies: Path, audit: Path, workers: int = 1
) -> str:
    """Portcullis as a user runs it: audit log to a file, metrics on, TLS and plain HTTP."""
    identity = "identity: { trusted_header: X-Remote-User }"
    return f"""listeners:
  - {{ bind: "127.0.0.1:{listen.plain}" }}
  - {{ bind: "127.0.0.1:{listen.tls}", tls: {{ certificate: "{listen.certificate}", key: "{listen.key}" }} }}
control: {{ bind: "127.0.0.1:{control}" }}
policies: "{policies}"
audit: {{ file: "{audit}" }}
workers: {workers}
upstreams:
  - {{ name: rest, hosts: ["*"], url: "http://127.0.0.1:{upstream}", catalogs: [github], {identity} }}
  - {{ name: git, hosts: ["*"], path_prefix: /git, url: "http://127.0.0.1:{upstream}", catalogs: [git], {identity} }}
  - {{ name: upload, hosts: ["*"], path_prefix: /upload, url: "http://127.0.0.1:{sink}", catalogs: [github], {identity} }}
"""

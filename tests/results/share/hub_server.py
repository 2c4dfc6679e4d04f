"""A stand-in for the Hugging Face Hub: repositories of models that a client makes, fills by commits, and reads back."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

TOKENS = {"hf_tokenofannika0000": "annika", "hf_tokenofben0000000": "ben"}


@dataclass
class Repo:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0

    @property
    def sha(self) -> str:
        return hashlib.sha1(str(self.commits).encode()).hexdigest()


@dataclass
class Hub:
    """What the stand-in holds, and how it behaves."""

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    """By the hash of their content."""
    asked: list[str] = field(default_factory=list)
    status: int = 0
    """Which it answers to everything, but 0."""
    hangs: threading.Event | None = None
    """Until this it answers nothing."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.answer()

    do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815 - as `http.server` calls them

    def send(self, status: int, content: Any = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status: int, code: str, message: str) -> None:
        self.send(status, {"error": message}, X_Error_Code=code, X_Error_Message=message)

    def answer(self) -> None:
        hub = self.hub
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(self.path.partition("?")[0])
        hub.asked.append(f"{self.command} {path}")
        if hub.hangs is not None:
            hub.hangs.wait(60)
            self.close_connection = True  # whoever asked has gone
            return None
        if hub.status:
            return self.send(hub.status, {"error": "of the stand-in"})
        token = str(self.headers.get("Authorization", "")).removeprefix("Bearer ")
        user = TOKENS.get(token)
        if path == "/api/whoami-v2":
            return self.send(200, {"name": user}) if user else self.fail(401, "", "Invalid user token.")
        if path == "/api/validate-yaml":
            return self.send(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(body)
            owner = asked.get("organization") or user
            if owner != user:
                return self.fail(403, "", f"You don't have the rights to create a model under the namespace {owner}")
            hub.repos[f"{owner}/{asked['name']}"] = Repo(private=asked.get("visibility") == "private")
            return self.send(200, {"url": f"{hub.url}/{owner}/{asked['name']}"})
        if large := re.fullmatch("/large/([0-9a-f]{64})", path):
            hub.large[large[1]] = body
            return self.send(200)
        found = re.fullmatch(r"/(?:api/models/)?([^/]+/[^/]+?)(?:\.git)?(/.*)?", path)
        name, rest = (found[1], found[2] or "") if found else ("", "")
        repo = hub.repos.get(name)
        owner = name.partition("/")[0]
        if repo is None or (repo.private and owner != user):
            return self.fail(404 if user else 401, "RepoNotFound", "Repository not found")
        if self.command in ("POST", "PUT") and owner != user:
            return self.fail(403, "", "you are not in the namespace")
        return self.of_repo(name, repo, rest, body)

    def of_repo(self, name: str, repo: Repo, rest: str, body: bytes) -> None:
        if rest == "" or rest.startswith("/revision/"):
            files = [{"rfilename": file} for file in repo.files]
            return self.send(200, {"id": name, "sha": repo.sha, "private": repo.private, "siblings": files})
        if rest.startswith("/preupload/"):
            modes = [
                {
                    "path": file["path"],
                    "shouldIgnore": False,
                    "uploadMode": "lfs" if file["path"].endswith((".safetensors", ".png", ".onnx")) else "regular",
                }
                for file in json.loads(body)["files"]
            ]
            return self.send(200, {"files": modes})
        if rest == "/info/lfs/objects/batch":
            actions = [
                {**one, "actions": {"upload": {"href": f"{self.hub.url}/large/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return self.send(200, {"transfer": "basic", "objects": actions})
        if rest.startswith("/commit/"):
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    repo.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    repo.files[value["path"]] = self.hub.large[value["oid"]]
                elif line["key"] == "deletedFile":
                    del repo.files[value["path"]]
            repo.commits += 1
            url = f"{self.hub.url}/{name}/commit/{repo.sha}"
            return self.send(200, {"success": True, "commitUrl": url, "commitOid": repo.sha})
        if rest.startswith("/tree/"):
            entries = [
                {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for file, content in repo.files.items()
            ]
            return self.send(200, entries)
        _, _, revision, file = rest.split("/", 3)
        content = repo.files.get(file)
        if content is None:
            return self.fail(404, "EntryNotFound", f"no {file} at {revision}")
        tag = hashlib.sha256(content).hexdigest()
        return self.send(200, content, ETag=f'"{tag}"', X_Repo_Commit=repo.sha)


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Yield a stand-in that listens on this machine alone."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        if hub.hangs is not None:
            hub.hangs.set()
        server.shutdown()
        thread.join()
        server.server_close()

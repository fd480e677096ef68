"""A stand-in for the Hugging Face hub: its HTTP interface as far as models need it, in memory.

Written from the requests that huggingface_hub sends: making a repository, deciding how files are
sent, large files by Git LFS (batch, upload, verify), commits as lines of JSON, facts about a model,
its tree, and files with the headers that the client's cache lives on.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["Hub", "serving"]

_LARGE = ".safetensors"
_API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/(\w+)(?:/([^/]+))?)?")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Repository:
    """Commits by hash, each with its files, and branches by name."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        text = repr((len(self.commits), sorted(files.items())))
        name = hashlib.sha1(text.encode()).hexdigest()
        self.commits[name] = files
        self.branches[branch] = name
        return name


@dataclass
class Hub:
    """The state of the hub, for tests to look at and to tamper with.

    Attributes:
        token: the one that may write, and read what is private.
        cut: bytes after which a download breaks off, by file name; a name is removed once it did.
        stalled: names of files that stop in the middle, until the test ends.
    """

    token: str = "hf_secretsecretsecret"
    repositories: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    stalled: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=dict)
    url: str = ""
    stopping: threading.Event = field(default_factory=threading.Event)

    def put(self, name: str, files: dict[str, bytes], *, private: bool = False) -> str:
        return self.repositories.setdefault(name, Repository(private)).commit("main", files)

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        repository = self.repositories[name]
        return repository.commits[repository.branches.get(revision, revision)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        pass

    def answer(self, status: int, value: Any = None, **headers: str) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    @property
    def allowed(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().strip(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def readable(self, name: str, revision: str | None) -> tuple[Repository, str] | None:
        """Return the repository and the commit, or answer as the hub does for what is not there."""
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self.allowed):
            status = 404 if self.allowed else 401
            self.answer(status, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return None
        if name in self.hub.gated and not self.allowed:
            self.answer(401, {"error": "Access is restricted"}, X_Error_Code="GatedRepo")
            return None
        branch = unquote(revision or "main")
        commit = repository.branches.get(branch, branch)
        if commit not in repository.commits:
            self.answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
            return None
        return repository, commit

    def note(self) -> str:
        path = urlsplit(self.path).path
        self.hub.requests.append((self.command, path, self.headers.get("Authorization") or ""))
        return path

    def do_GET(self) -> None:
        path = self.note()
        if match := _FILE.fullmatch(path):
            self.give_file(match[1], match[2], unquote(match[3]))
            return
        match = _API.fullmatch(path)
        found = match and self.readable(match[1], match[3])
        if not match or not found:
            if not match:
                self.answer(404, {"error": "not here"})
            return
        repository, commit = found
        files = repository.commits[commit]
        entries = [self.entry(name, content) for name, content in sorted(files.items())]
        if match[2] == "tree":
            self.answer(200, entries)
            return
        siblings = [
            {"rfilename": each["path"], "size": each["size"], "blobId": each["oid"]}
            for each in entries
        ]
        self.answer(200, {
            "id": match[1], "modelId": match[1], "sha": commit, "private": repository.private,
            "siblings": siblings, "tags": [],
        })  # fmt: skip

    do_HEAD = do_GET

    def entry(self, name: str, content: bytes) -> dict[str, Any]:
        size = self.hub.sizes.get(name, len(content))
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry = {"type": "file", "path": name, "size": size, "oid": blob}
        if name.endswith(_LARGE):
            oid = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": oid, "size": size, "pointerSize": 130}
        return entry

    def give_file(self, repository: str, revision: str, name: str) -> None:
        found = self.readable(repository, revision)
        if not found:
            return
        store, commit = found
        if name not in store.commits[commit]:
            self.answer(404, {"error": "no such file"}, X_Error_Code="EntryNotFound")
            return
        content = store.commits[commit][name]
        entry = self.entry(name, content)
        start = int((re.findall(r"bytes=(\d+)-", self.headers.get("Range") or "") or ["0"])[0])
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{entry.get("lfs", entry)["oid"]}"')
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        end = len(content)
        if name in self.hub.cut:
            end = min(end, start + self.hub.cut.pop(name))
        if name in self.hub.stalled:
            end = start + (end - start) // 2
        self.wfile.write(content[start:end])
        self.wfile.flush()
        self.hub.sent[name] = self.hub.sent.get(name, 0) + end - start
        if name in self.hub.stalled:
            self.hub.stopping.wait(60)
        if end < len(content):
            self.close_connection = True

    def do_PUT(self) -> None:
        path = self.note()
        content = self.body()
        self.hub.blobs[hashlib.sha256(content).hexdigest()] = content
        assert path.startswith("/upload/")
        self.answer(200, {})

    def do_POST(self) -> None:
        path = self.note()
        body = self.body()
        if path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
            return
        if not self.allowed:
            self.answer(401, {"error": "Invalid username or password."})
            return
        if path == "/api/repos/create":
            self.create(json.loads(body))
        elif path == "/verify":
            known = json.loads(body)["oid"] in self.hub.blobs
            self.answer(200 if known else 404, {})
        elif path.endswith(".git/info/lfs/objects/batch"):
            self.answer(200, {"transfer": "basic", "objects": [
                self.upload(each) for each in json.loads(body)["objects"]
            ]})  # fmt: skip
        elif match := _API.fullmatch(path):
            self.change(match[1], match[2], unquote(match[3]), body)
        else:
            self.answer(404, {"error": "not here"})

    def create(self, given: dict[str, Any]) -> None:
        name = f"{given['organization']}/{given['name']}"
        if not name.startswith("ada/"):
            self.answer(403, {"error": "You don't have the rights to create a model here"})
        elif name in self.hub.repositories:
            self.answer(409, {"error": "exists", "url": f"{self.hub.url}/{name}"})
        else:
            private = bool(given.get("private")) or given.get("visibility") == "private"
            self.hub.put(name, {".gitattributes": b""}, private=private)
            self.answer(200, {"url": f"{self.hub.url}/{name}", "name": name})

    def upload(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if wanted["oid"] in self.hub.blobs:
            return wanted
        href = f"{self.hub.url}/upload/{wanted['oid']}"
        actions = {"upload": {"href": href}, "verify": {"href": f"{self.hub.url}/verify"}}
        return {**wanted, "actions": actions}

    def change(self, name: str, what: str, revision: str, body: bytes) -> None:
        repository = self.hub.repositories[name]
        if what == "branch":
            if revision in repository.branches:
                self.answer(409, {"error": "exists"})
                return
            repository.branches[revision] = repository.branches["main"]
            self.answer(200, {})
            return
        if what == "preupload":
            self.answer(200, {"files": [
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if each["path"].endswith(_LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for each in json.loads(body)["files"]
            ]})  # fmt: skip
            return
        assert what == "commit"
        files = dict(repository.commits[repository.branches[revision]])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = repository.commit(revision, files)
        self.answer(200, {
            "commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit,
            "success": True,
        })  # fmt: skip


class serving:
    """Run the hub on a port of this machine for a block."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def __enter__(self) -> Hub:
        handler = type("Handler", (_Handler,), {"hub": self.hub})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.hub.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self.hub

    def __exit__(self, *_: object) -> None:
        self.hub.stopping.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

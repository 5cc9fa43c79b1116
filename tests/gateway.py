"""An HTTP server in the place of vLLM or LiteLLM: it checks what it is asked as they do, and keeps what it was told."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Gateway:
    """`key` is asked for where it is set; `deaf` takes a model and does not list it; `moved` redirects everything there."""

    key: str = ""
    deaf: bool = False
    moved: str = ""
    broken: str = ""  # what a call is answered with instead, status 500
    url: str = ""
    adapters: dict[str, str] = field(default_factory=dict)
    models: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, authorization

    def get(self, path: str) -> tuple[int, object]:
        if path == "/v1/models":
            base = {"id": "tiny-base", "root": "tiny-base", "parent": None}
            return 200, {
                "data": [base, *({"id": n, "root": p, "parent": "tiny-base"} for n, p in self.adapters.items())]
            }
        return (200, {"data": self.models}) if path == "/model/info" else (404, {"detail": "Not Found"})

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, object]:
        if self.broken:
            return 500, {"error": self.broken}
        if path == "/v1/load_lora_adapter" and set(body) == {"lora_name", "lora_path"}:
            config = json.loads((Path(body["lora_path"]) / "adapter_config.json").read_text("utf-8"))
            if config["peft_type"] != "LORA" or config["modules_to_save"]:
                return 400, {"error": {"message": "vLLM only supports modules_to_save being None."}}
            if not self.deaf:
                self.adapters[body["lora_name"]] = body["lora_path"]
            return 200, "Success"
        if path == "/model/new" and {"model_name", "litellm_params", "model_info"} == set(body):
            if not self.deaf:
                self.models.append(body)
            return 200, {"model_id": body["model_info"]["id"]}
        return 422, {"detail": sorted(body)}


@contextmanager
def a_gateway(**how: Any) -> Iterator[Gateway]:
    gateway = Gateway(**how)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET", lambda: gateway.get(self.path))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer("POST", lambda: gateway.post(self.path, body))

        def _answer(self, method: str, answer: Any) -> None:
            said = self.headers.get("Authorization", "")
            gateway.asked.append((method, self.path, said))
            if gateway.moved:
                self.send_response(307)
                self.send_header("Location", gateway.moved + self.path)
                self.end_headers()
                return
            good = not gateway.key or said == f"Bearer {gateway.key}"
            status, told = answer() if good else (401, {"error": f"Invalid key {said}"})
            raw = (told if isinstance(told, str) else json.dumps(told)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    gateway.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield gateway
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

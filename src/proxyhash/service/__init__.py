"""The HTTP service over an index: `create_app` makes it, `serve` runs it."""

from proxyhash.errors import require_extra

for _name in ("fastapi", "prometheus_client", "python_multipart", "uvicorn"):
    require_extra(_name, extra="serve", purpose="the HTTP service")

from proxyhash.service.app import create_app  # noqa: E402
from proxyhash.service.service import Service  # noqa: E402
from proxyhash.service.settings import Limits, Settings  # noqa: E402

__all__ = ["Limits", "Service", "Settings", "create_app"]

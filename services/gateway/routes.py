"""Which requests are watched: a path's ending to the API that it speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from services.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

Api: TypeAlias = Literal["chat", "completions", "responses", "embeddings", "messages"]
APIS: Final[tuple[Api, ...]] = get_args(Api)
DEFAULT_ROUTES: Final = (
    "/chat/completions=chat,/completions=completions,/responses=responses,/embeddings=embeddings,/messages=messages"
)


def parse_routes(text: str) -> tuple[tuple[str, Api], ...]:
    """Read ``/path=api,...``, the longest path first; raises ConfigurationError."""
    routes: list[tuple[str, Api]] = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        path, _, name = entry.rpartition("=")
        api = next((api for api in APIS if api == name.strip()), None)
        if api is None or not path.startswith("/"):
            raise ConfigurationError(
                f"STILLWATCH_GATEWAY_ROUTES: {entry} is no route", f"Say /path=api with api one of {', '.join(APIS)}."
            )
        routes.append((path.strip().rstrip("/"), api))
    return tuple(sorted(routes, key=lambda route: -len(route[0])))


class Routes:
    """Finds a path's API by its ending, so that mounts and prefixes of versions do not matter."""

    def __init__(self, routes: tuple[tuple[str, Api], ...]) -> None:
        self._routes = routes

    def find(self, scope: Mapping[str, object]) -> Api | None:
        """Give the API of a request; None for one that is not watched: other paths, and what is no POST."""
        if scope.get("type") != "http" or scope.get("method") != "POST":
            return None
        path = str(scope.get("path", "")).rstrip("/")
        for ending, api in self._routes:
            if path.endswith(ending):
                return api
        return None

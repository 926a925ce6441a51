"""Programs that call the gateway, and how their users change settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.simulator.population import Client

if TYPE_CHECKING:
    import numpy as np

WORLD_CLIENTS: Final[dict[str, Client]] = {
    "webchat": Client("Mozilla/5.0 (X11; Linux x86_64)", "teacher-large", {"temperature": 0.7, "stream": True}),
    "mobile": Client("ChatMobile/4.2 (iOS)", "teacher-large", {"temperature": 0.8, "max_tokens": 1024, "stream": True}),
    "android": Client("ChatMobile/4.1 (Android 16)", "teacher-mini", {"temperature": 0.8, "max_tokens": 1024}),
    "desk": Client("OpenWebUI/0.6", "teacher-large", {"stream": True}),
    "python": Client("OpenAI/Python 1.99.2", "teacher-large", {}),
    "python-mini": Client("OpenAI/Python 1.99.2", "teacher-mini", {}),
    "python-reasoner": Client("OpenAI/Python 1.99.2", "teacher-reasoner", {}),
    "node": Client("OpenAI/JS 5.8.0", "teacher-mini", {"temperature": 0.2}),
    "node-large": Client("OpenAI/JS 5.8.0", "teacher-large", {}),
    "chain": Client("langchain/0.3 python", "teacher-large", {"temperature": 0.0}),
    "litellm": Client("litellm/1.80", "teacher-large", {"temperature": 1.0}),
    "agent": Client("codeagent/0.9.1", "teacher-code", {"temperature": 0.0, "max_tokens": 8192, "stream": True}),
    "harness": Client("lm-eval/0.5", "teacher-large", {"temperature": 0.0, "max_tokens": 512}),
    "curl": Client("curl/8.5.0", "teacher-mini", {"max_tokens": 256}),
    "httpx": Client("python-httpx/0.28.1", "teacher-large", {"temperature": 1.0, "max_tokens": 2048}),
    "aiohttp": Client("Python/3.11 aiohttp/3.14", "teacher-large", {"temperature": 0.9, "max_tokens": 1536}),
    "go": Client("Go-http-client/2.0", "teacher-large", {"max_tokens": 1024}),
    "java": Client("okhttp/5.1", "teacher-mini", {"temperature": 0.3, "max_tokens": 800}),
}
AGENT_SYSTEM: Final = (
    "You are a coding agent in the user's repository. Give one command at a time, read its output with care, and end "
    "with a report of what changed."
)
PEOPLE: Final = (("webchat", 0.5), ("mobile", 0.2), ("android", 0.15), ("desk", 0.15))
PROGRAMMERS: Final = (
    ("python", 0.24),
    ("python-mini", 0.18),
    ("node", 0.14),
    ("node-large", 0.1),
    ("chain", 0.1),
    ("curl", 0.07),
    ("httpx", 0.06),
    ("go", 0.04),
    ("java", 0.04),
    ("python-reasoner", 0.03),
)
_OWN: Final = 0.55  # Share of programs whose author changed something.


def draw_client(rng: np.random.Generator, shares: tuple[tuple[str, float], ...]) -> Client:
    """Draw one client by its share."""
    names = [name for name, _ in shares]
    return WORLD_CLIENTS[str(rng.choice(names, p=[share for _, share in shares]))]


def own_settings(rng: np.random.Generator) -> dict[str, Any]:
    """Give what a program's author set by hand: often nothing, mostly round numbers."""
    if rng.random() > _OWN:
        return {}
    settings: dict[str, Any] = {}
    if rng.random() < 0.7:  # noqa: PLR2004 - of those who change anything, most change the temperature
        settings["temperature"] = float(rng.choice([0.0, 0.0, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2]))
    if rng.random() < 0.5:  # noqa: PLR2004 - as above, half a limit
        settings["max_tokens"] = int(rng.choice([64, 150, 200, 256, 300, 400, 500, 512, 600, 800, 1000, 1500, 2000]))
    if rng.random() < 0.15:  # noqa: PLR2004 - as above, few the nucleus
        settings["top_p"] = float(rng.choice([0.8, 0.9, 0.95]))
    return settings

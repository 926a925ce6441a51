"""The provider of the package oidc-provider-mock, made to hold a code's verifier against its challenge (RFC 7636).

``python -m tests.integration.database.strict_provider PORT USER``, the user as a JSON object of claims.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from authlib.oauth2.rfc7636 import CodeChallenge
from oidc_provider_mock import User, _app
from werkzeug.serving import run_simple


class Held(CodeChallenge):
    """What each code was asked for with: authlib's own check, over a table of this process."""

    told: dict[str, tuple[str | None, str | None]] = {}  # noqa: RUF012 - one table for the grants of all requests

    def get_authorization_code_challenge(self, authorization_code: Any) -> str | None:
        """Give the challenge of a code."""
        return self.told[authorization_code.code][0]

    def get_authorization_code_challenge_method(self, authorization_code: Any) -> str | None:
        """Give its method."""
        return self.told[authorization_code.code][1]


class StrictGrant(_app.AuthorizationCodeGrant):
    """The package's grant, with the check added."""

    def __init__(self, request: Any, server: Any) -> None:
        super().__init__(request, server)
        Held(required=True)(self)

    def save_authorization_code(self, code: str, request: Any) -> None:
        """Keep the challenge beside the code."""
        super().save_authorization_code(code, request)
        data = request.payload.data
        Held.told[code] = (data.get("code_challenge"), data.get("code_challenge_method"))


def main() -> None:
    """Serve until killed."""
    port, user = int(sys.argv[1]), json.loads(sys.argv[2])
    # The package registers the class of this name, and has no other way to give it one.
    _app.AuthorizationCodeGrant = StrictGrant  # type: ignore[misc]  # as the comment above says
    app = _app.app(user_claims=[User(sub=user["sub"], claims=user)])
    run_simple("127.0.0.1", port, app, threaded=True)


if __name__ == "__main__":
    main()

"""The process that verifies tokens: read the administrator's files, give up all privileges, serve the frontends."""

import os
import posixpath
from functools import partial
from typing import Final

# Imported by cryptography when the first signature is verified.
import cryptography.hazmat.backends.openssl.backend  # noqa: F401

from cofferdam_contracts.ipc.control import DownstreamChannel, UpstreamChannel
from cofferdam_contracts.roles import Role
from cofferdam_contracts.token_settings import IdentitySettings, TokenSettings
from cofferdam_identity.files import Files, Watched
from cofferdam_identity.revocations import MAX_DOCUMENT
from cofferdam_identity.server import Server
from cofferdam_identity.trust import Trust
from cofferdam_runtime.entry import Child, Handler, Reporter, begin, confine
from cofferdam_runtime.faults import explain
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.notices import ChildLog
from cofferdam_runtime.sandbox.policies import POLICIES

_FOLDER_MODE: Final = 0o755
"""Root writes to it, and the identity process reads it; what is revoked is no secret."""


def main() -> int:
    """Verify tokens until the broker sends STOP."""
    start = begin("identity")
    settings = start.settings(IdentitySettings)
    log = ChildLog("identity", settings.log, start)
    loop = Loop()
    reporter = Reporter(start.control)
    trust = Trust(settings.tokens, log)
    watched = [_keys(trust, one) for one in settings.tokens if one.key_file is not None]
    revoke = partial(_revoke, trust, settings)
    watched.append(
        Watched(settings.revocations, "identity.revocations", revoke, may_be_missing=True, most=MAX_DOCUMENT)
    )
    files = Files(watched, log)
    _make_folder(posixpath.dirname(settings.revocations), log)
    # Once as the user that starts the service: a systemd credential is readable for that one alone.
    files.look()
    folders = {posixpath.dirname(file.path) for file in watched if not file.is_fixed}
    readable = tuple(sorted(filter(os.path.isdir, folders)))
    achieved = confine(start, log, POLICIES[Role.IDENTITY].with_paths(readable=readable))
    server = Server(
        trust, files, loop, log, reporter, authenticators=settings.authenticators, fetchers=settings.fetchers
    )
    handlers: dict[type, Handler] = {
        UpstreamChannel: server.add_upstream,
        DownstreamChannel: server.add_channel,
    }
    child = Child(start, log, loop, reporter, handlers, in_flight=server.in_flight)
    child.ready(achieved)
    loop.run(server.tick)
    os._exit(0)


def _keys(trust: Trust, settings: TokenSettings) -> Watched:
    path, issuer = settings.key_file or "", settings.issuer or ""

    def learn(content: bytes) -> None:
        trust.learn(settings.auth_type, issuer, content, path)

    return Watched(path, "authenticator.key_file", learn, is_fixed=settings.key_file_is_credential)


def _make_folder(folder: str, log: Log) -> None:
    """Make the folder of the revocations: only what exists now can be looked into later."""
    try:
        os.mkdir(folder)
        os.chmod(folder, _FOLDER_MODE)
    except FileExistsError:
        return
    except OSError as error:
        cause = explain(error, posixpath.dirname(folder), "a folder to make another one in", "identity.revocations")
        log.notice("the folder of revocations cannot be made; revoking needs a reload", file=folder, cause=cause)


def _revoke(trust: Trust, settings: IdentitySettings, content: bytes) -> None:
    trust.revoke(content, settings.revocations)

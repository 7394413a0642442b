"""The changes of `./dev mutants`: a line that security depends on, what becomes of it, and which tests have to fail.

The kinds: what `main` and the launch path put together; what a successor is told; limits that only a running service
has; what a client of uid 0, or of one uid, does not see; rules of the sandbox. Those of tokens are in a file of their
own.
"""

from typing import Final

from tools.mutant import Mutant
from tools.mutant import mutant as _mutant
from tools.mutants_tokens import TOKENS

IDENTITIES: Final = "tests/e2e/test_identities.py"
LIMITS: Final = "tests/e2e/test_limits.py"
PROCESSES: Final = "tests/e2e/test_processes.py"
SEPARATION: Final = "tests/e2e/test_separation.py"
DIES: Final = "test_whoever_cannot_react_dies_with_the_broker_all_the_same"
ATTEMPTS: Final = "tests/e2e/test_takeover.py::test_what_is_not_fatal_fails_and_the_process_serves_on"
FORGED: Final = "tests/e2e/test_takeover.py::test_a_forged_message_costs_the_forger_its_channel_and_nobody_anything"
POLICIES: Final = "tests/runtime/sandbox/test_policies.py"
ENTER: Final = "runtime/cofferdam_runtime/sandbox/enter.py"
RESOURCES: Final = "runtime/cofferdam_runtime/sandbox/limits.py"
SECCOMP: Final = "runtime/cofferdam_runtime/sandbox/seccomp.py"
WIRING: Final = "broker/cofferdam_broker/wiring.py"
INTAKE: Final = "runtime/cofferdam_runtime/intake.py"
BECOME: Final = "runtime/cofferdam_runtime/sandbox/broker.py"
EXECUTE: Final = "runtime/cofferdam_runtime/command.py"
PRINCIPALS: Final = "broker/cofferdam_broker/principals.py"
CHILDREN: Final = "broker/cofferdam_broker/children.py"
KIM: Final = "kim/cofferdam_kim/service.py"
PEERS: Final = "providers/cofferdam_providers/base/peers.py"
WORKER: Final = "providers/cofferdam_providers/base/worker.py"
STORE: Final = "providers/cofferdam_providers/base/kim_client.py"
ROWS: Final = "tests/e2e/test_rows.py"
LYING: Final = "tests/providers/base/test_lying_store.py"

LAUNCH: Final = (
    _mutant(
        "the broker keeps all capabilities",
        BECOME,
        "    trim_broker_capabilities()\n",
        "",
        PROCESSES,
        root=True,
    ),
    _mutant(
        "the broker can be traced",
        BECOME,
        "    prctl.forbid_dumps()\n",
        "",
        PROCESSES,
    ),
    _mutant("a child can be traced", ENTER, "    prctl.forbid_dumps()\n", "", PROCESSES),
    _mutant("core dumps are not forbidden", ENTER, "    limits.forbid_core_dumps()\n", "", PROCESSES),
    _mutant(
        "a child outlives the broker", ENTER, "identity.stay_with(parent)", "pass", f"{SEPARATION}::{DIES}", root=True
    ),
    _mutant(
        "all frontends have one uid",
        CHILDREN,
        "uid_of(self._settings.uid_base, role, number)",
        "uid_of(self._settings.uid_base, role, 0)",
        PROCESSES,
        root=True,
    ),
    _mutant(
        "a child inherits the environment",
        EXECUTE,
        '{"LANG": "C.UTF-8", **{',
        "{**os.environ, **{",
        SEPARATION,
        root=True,
    ),
    _mutant(
        "a child gets every descriptor",
        "runtime/cofferdam_runtime/spawn.py",
        "    null = os.open(",
        "    os.set_inheritable(ours.fileno(), True)\n    null = os.open(",
        PROCESSES,
        root=True,
    ),
    _mutant(
        "the frontend has another's policy",
        "frontend/cofferdam_frontend/__main__.py",
        "POLICIES[Role.FRONTEND]",
        "POLICIES[Role.SOFTWARE_WORKER]",
        PROCESSES,
        root=True,
    ),
    _mutant(
        "the worker has another's policy",
        "providers/cofferdam_providers/software/__main__.py",
        "POLICIES[Role.SOFTWARE_WORKER])",
        "POLICIES[Role.PKCS11_WORKER])",
        PROCESSES,
        root=True,
    ),
    _mutant(
        "the key store may write everywhere",
        "kim/cofferdam_kim/__main__.py",
        "with_paths(writable=tuple(path for each in prepared for path in each.writable))",
        'with_paths(writable=("/",))',
        ATTEMPTS,
    ),
)

HANDED_OVER: Final = (
    _mutant(
        "an adopted channel is announced with principal 0",
        WIRING,
        "self.client, self.client.principal or 0, self.holder is not None",
        "self.client, 0 if self.holder is not None else self.client.principal or 0, self.holder is not None",
        IDENTITIES,
    ),
    _mutant(
        "every successor adopts every channel",
        WIRING,
        "if link.server == process.key and link.holder is not process:",
        "if link.holder is not process:",
        IDENTITIES,
    ),
    _mutant(
        "the channels of the dead are kept",
        WIRING,
        "self._links = [link for link in self._links if link not in gone]",
        "pass",
        IDENTITIES,
        PROCESSES,
        root=True,
    ),
    _mutant(
        "the broker's ends are inheritable",
        WIRING,
        "        self._links.append(Link(client, server, serving.detach()))\n",
        "        self._links.append(Link(client, server, serving.detach()))\n"
        "        os.set_inheritable(self._links[-1].descriptor, True)\n",
        PROCESSES,
        root=True,
    ),
    _mutant(
        "the client's end stays in the broker",
        WIRING,
        "        theirs.close()\n",
        "        theirs.detach()\n",
        PROCESSES,
        root=True,
    ),
    _mutant(
        "a frontend is wired as uid 0",
        WIRING,
        "self.client.principal or 0,",
        "0,",
        IDENTITIES,
    ),
    _mutant(
        "a frontend is told another uid",
        PRINCIPALS,
        "Assign(uid,",
        "Assign(0,",
        IDENTITIES,
    ),
)

ONE_UID: Final = (
    _mutant(
        "uid 65534 is a client",
        INTAKE,
        "frozenset({OVERFLOW_UID, READER_UID, RELAY_UID, *uids})",
        "frozenset({READER_UID, RELAY_UID, *uids})",
        IDENTITIES,
        root=True,
    ),
    _mutant(
        "the service's own uids are clients",
        INTAKE,
        "frozenset({OVERFLOW_UID, READER_UID, RELAY_UID, *uids})",
        "frozenset({OVERFLOW_UID})",
        IDENTITIES,
        root=True,
    ),
    _mutant(
        "one frontend serves everybody who waited",
        PRINCIPALS,
        "if self._assigned[uid].offer(",
        "if next(iter(self._assigned.values())).offer(",
        IDENTITIES,
        root=True,
    ),
    _mutant(
        "one frontend serves everybody who did not wait",
        PRINCIPALS,
        "else self._assigned.get(uid)",
        "else next(iter(self._assigned.values()), None)",
        IDENTITIES,
        root=True,
    ),
    _mutant(
        "what a key was used for once permits every algorithm",
        "providers/cofferdam_providers/base/checks.py",
        "if key.permitted.get(opcode) is not operation.alg:",
        "if opcode not in key.permitted:",
        "tests/providers/base/test_checks.py",
    ),
    Mutant(
        "the key cache forgets the authenticator",
        "providers/cofferdam_providers/base/keyring.py",
        (("owner = (application.authenticator,", "owner = (0,"), ("drop((identity.authenticator,", "drop((0,")),
        (IDENTITIES,),
    ),
    _mutant(
        "the key cache forgets the application",
        "providers/cofferdam_providers/base/keyring.py",
        "owner = (application.authenticator, application.name)",
        'owner = (application.authenticator, "")',
        IDENTITIES,
    ),
    _mutant("a worker takes every channel for root's", WORKER, "uid=record.uid,", "uid=0,", IDENTITIES, root=True),
    _mutant(
        "the key store takes every channel for root's",
        KIM,
        "FrontendPeer(channel.uid, ",
        "FrontendPeer(0, ",
        IDENTITIES,
        root=True,
    ),
    _mutant(
        "an authenticator that is not configured is believed by a worker",
        PEERS,
        "if request.authenticator not in self.authenticators:",
        "if False:",
        FORGED,
    ),
    _mutant(
        "an authenticator that is not configured is believed by the key store",
        KIM,
        "if authenticator not in self._admins or naming is None:",
        "if naming is None:",
        FORGED,
    ),
    _mutant(
        "a worker's questions are answered to a frontend",
        KIM,
        "if row is None or SCHEMAS[row[0]].asker is not peer.asker:",
        "if row is None:",
        FORGED,
    ),
    _mutant(
        "everybody may list clients",
        KIM,
        "if principal.name not in self._admins[principal.authenticator]:",
        "if False:",
        FORGED,
    ),
    _mutant(
        "a name beside peer credentials is overheard",
        PEERS,
        "            if request.application:\n"
        '                raise ForbiddenMessageError("a name beside Unix peer credentials")\n',
        "",
        FORGED,
    ),
    _mutant(
        "a forged uid is believed by the frontend",
        "frontend/cofferdam_frontend/auth.py",
        "if proof != self._uid_field:",
        "if False:",
        IDENTITIES,
    ),
)

RUNNING_LIMITS: Final = (
    _mutant(
        "max_in_flight is ignored",
        "frontend/cofferdam_frontend/upstream.py",
        "if len(self._in_flight) >= self._most:",
        "if False:",
        LIMITS,
    ),
    _mutant(
        "max_connections is ignored",
        "frontend/cofferdam_frontend/frontend.py",
        "if len(self._connections) > self._settings.max_connections:",
        "if False:",
        LIMITS,
    ),
    _mutant(
        "an expired request is begun",
        "providers/cofferdam_providers/base/service.py",
        "        check_deadline(request.deadline)\n        opcode",
        "        opcode",
        LIMITS,
    ),
    _mutant(
        "a worker serves one channel until it is empty",
        WORKER,
        "if time.monotonic_ns() >= until or self._upkeep.lost:",
        "if self._upkeep.lost:",
        "tests/providers/base/test_fairness.py",
    ),
    _mutant(
        "a Direct name of any length passes the frontend",
        "frontend/cofferdam_frontend/auth.py",
        "if not name or len(proof) > MAX_APPLICATION:",
        "if not name:",
        IDENTITIES,
    ),
    _mutant(
        "the code of a row is not compared",
        STORE,
        "elif not self._codes.is_right(code, ACTIVE, identity, stored):",
        "elif not identity:",
        ROWS,
    ),
    _mutant(
        "a row is believed again when its code is gone",
        STORE,
        "if not held.whole or stored.version != REFERENCE_FORM:",
        "if not identity:",
        ROWS,
    ),
    _mutant(
        "no seal stands for no codes",
        STORE,
        "held.is_sealed_by(seal) if check else not codes",
        "held.is_sealed_by(seal) or not codes",
        LYING,
    ),
    _mutant(
        "a code is valid for ever",
        STORE,
        "elif (held := self._held()).whole and code not in held.codes:",
        "elif not code:",
        LYING,
    ),
    _mutant(
        "an old state of a row destroys an object in use",
        STORE,
        "if is_right and tag_of(self._codes.code(ACTIVE, identity, stored)) not in in_use:",
        "if is_right or identity.key_name in in_use:",
        LYING,
    ),
    _mutant(
        "an object may be in two rows",
        STORE,
        "if tag_of(code) in held.taken:",
        "if not held.taken:",
        ROWS,
    ),
    _mutant(
        "a half-destroyed key is destroyed because its row says so",
        STORE,
        "is_right = self._codes.is_right(code, state, identity, stored)",
        "is_right = bool(identity)",
        ROWS,
    ),
    _mutant(
        "a key-encryption key is not compared",
        STORE,
        "if check and check != self._codes.check and not is_new:",
        "if check and not self._codes.check:",
        ROWS,
    ),
    _mutant(
        "a key-encryption key is made while rows depend on another",
        "providers/cofferdam_providers/base/key_encryption_key.py",
        "if (sealed.has_check and not (adopt and not seals)) or (sealed.has_rows and seals):",
        "if not sealed:",
        ROWS,
        "tests/providers/software/test_credentials.py",
    ),
    Mutant(
        "the key store answers one channel for ever",
        "kim/cofferdam_kim/serve.py",
        (
            ("for _ in range(TURNS[asking.peer.asker]):", "while True:"),
            ("if self._clock_ns() > until:", "if False:"),
        ),
        ("tests/kim",),
    ),
    _mutant(
        "the number of descriptors is not limited",
        RESOURCES,
        "    _lower(resource.RLIMIT_NOFILE, policy.open_files)\n",
        "",
        PROCESSES,
    ),
    _mutant(
        "the number of processes is not limited",
        RESOURCES,
        "        _lower(resource.RLIMIT_NPROC, 0)\n",
        "        pass\n",
        PROCESSES,
    ),
    _mutant(
        "the size of files is not limited",
        RESOURCES,
        "_lower(resource.RLIMIT_FSIZE, policy.file_size)",
        "pass",
        PROCESSES,
    ),
    _mutant(
        "a child logs over the socket of all others",
        "runtime/cofferdam_runtime/entry.py",
        '    join(title, None if uid == "-" else int(uid))\n',
        "",
        PROCESSES,
        root=True,
    ),
    _mutant(
        "who fills the log is read all the same",
        "runtime/cofferdam_runtime/relay/relay.py",
        "return self.tokens > 0",
        "return True",
        "tests/runtime/test_relay.py",
    ),
    _mutant(
        "a soft limit can be raised again",
        RESOURCES,
        "resource.setrlimit(limit, (value, value))",
        "resource.setrlimit(limit, (value, hard))",
        PROCESSES,
    ),
)

SANDBOX: Final = (
    _mutant(
        "the frontend may call ioctl",
        "runtime/cofferdam_runtime/sandbox/policies.py",
        "_CHANNELS,\n            conditions=_ABOVE_THE_LOG,",
        '_CHANNELS | {"ioctl"},\n            conditions=_ABOVE_THE_LOG,',
        POLICIES,
    ),
    _mutant(
        "what no list has is allowed",
        SECCOMP,
        "with _filter(SCMP_ACT_KILL_PROCESS) as context:",
        "with _filter(SCMP_ACT_ALLOW) as context:",
        PROCESSES,
        root=True,
    ),
    _mutant(
        "memory becomes executable",
        SECCOMP,
        "if name in _PROTECTION and not policy.executable_memory:",
        "if False:",
        PROCESSES,
        root=True,
    ),
    _mutant(
        "another architecture's calls are allowed",
        SECCOMP,
        "SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS",
        "SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW",
        PROCESSES,
        root=True,
    ),
    _mutant("other threads have no filter", SECCOMP, "SCMP_FLTATR_CTL_TSYNC, 1", "SCMP_FLTATR_CTL_TSYNC, 0", PROCESSES),
    _mutant(
        "conditions are not asked",
        SECCOMP,
        "_add(context, action, condition.syscall, comparison)",
        "_add(context, action, condition.syscall)",
        PROCESSES,
        root=True,
    ),
    _mutant(
        "what is loaded late has no first filter",
        ENTER,
        "        seccomp.load_first(policy)\n",
        "        pass\n",
        PROCESSES,
    ),
    _mutant(
        "groups are kept",
        "runtime/cofferdam_runtime/sandbox/identity.py",
        "        os.setgroups(list(groups))\n",
        "",
        PROCESSES,
        root=True,
    ),
)

MUTANTS: Final = (*LAUNCH, *HANDED_OVER, *ONE_UID, *RUNNING_LIMITS, *SANDBOX, *TOKENS)

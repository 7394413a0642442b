"""The rules of a shim, each of which injects a fault into some commands; the schedule has one JSON object per line.

From when it is planned, a rule counts the commands that it names, lets the first `nth - 1` of them pass, and then
applies `times` times. Of several that are due for one command the first applies, and the others wait for the next one.
"""

import dataclasses
import enum
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

FOR_EVER: Final = 0
ANY: Final = "*"


@enum.unique
class Action(enum.StrEnum):
    """What happens to a command."""

    RC = "rc"
    HANG = "hang"
    DELAY = "delay"
    TRUNCATE = "truncate"
    CLOSE = "close"
    DROP = "drop"
    CORRUPT_COMMAND = "corrupt-command"
    CORRUPT_RESPONSE = "corrupt-response"
    GARBAGE = "garbage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule; the functions below make them."""

    action: Action
    command: str = ANY
    """A name of `codes.CODES`, or `*`."""
    nth: int = 1
    times: int = 1
    after: bool = False
    """Whether the TPM gets the command, and only its answer is lost."""
    value: int = 0
    """The response code, the milliseconds, the length, or the offset: what the action needs."""
    bit: int = 0
    close: bool = False

    def is_due(self, seen: int, applied: int) -> bool:
        """Tell whether it is due, after so many of its commands, and having been applied so often."""
        return seen >= self.nth and (self.times == FOR_EVER or applied < self.times)


def answer(command: str, rc: int, *, after: bool = False, nth: int = 1, times: int = 1) -> Rule:
    """Answer with a response code in place of asking the TPM; or after asking it, so that it did the work."""
    return Rule(action=Action.RC, command=command, value=rc, after=after, nth=nth, times=times)


def hang(command: str, *, after: bool = False, nth: int = 1, times: int = 1) -> Rule:
    """Answer neither this nor a later command on the connection. Others are served."""
    return Rule(action=Action.HANG, command=command, after=after, nth=nth, times=times)


def delay(command: str, milliseconds: int, *, nth: int = 1, times: int = 1) -> Rule:
    """Be slow, for everybody: the TPM does one thing at a time."""
    return Rule(action=Action.DELAY, command=command, value=milliseconds, nth=nth, times=times)


def truncate(command: str, length: int, *, close: bool = True, nth: int = 1, times: int = 1) -> Rule:
    """Send the first bytes of the answer, then close the connection or say nothing more."""
    return Rule(action=Action.TRUNCATE, command=command, value=length, close=close, nth=nth, times=times)


def close(command: str, *, after: bool = False, nth: int = 1, times: int = 1) -> Rule:
    """Close the connection in place of an answer."""
    return Rule(action=Action.CLOSE, command=command, after=after, nth=nth, times=times)


def drop(command: str, *, after: bool = False, nth: int = 1, times: int = 1) -> Rule:
    """Answer this command never, and the next ones on the connection as usual."""
    return Rule(action=Action.DROP, command=command, after=after, nth=nth, times=times)


def corrupt(command: str, offset: int, *, bit: int = 0, nth: int = 1, times: int = 1) -> Rule:
    """Flip one bit of the answer, in the byte at an offset, which may be negative.

    Bytes 2 to 5 of a message are its size, so that a larger one lets the other side wait for the rest.
    """
    return Rule(action=Action.CORRUPT_RESPONSE, command=command, value=offset, bit=bit, nth=nth, times=times)


def corrupt_command(command: str, offset: int, *, bit: int = 0, nth: int = 1, times: int = 1) -> Rule:
    """Flip one bit of the command on its way to the TPM."""
    return Rule(action=Action.CORRUPT_COMMAND, command=command, value=offset, bit=bit, nth=nth, times=times)


def garbage(command: str, length: int = 64, *, nth: int = 1, times: int = 1) -> Rule:
    """Answer with bytes that are no answer: 0xA5 throughout."""
    return Rule(action=Action.GARBAGE, command=command, value=length, nth=nth, times=times)


def flipped(message: bytes, rule: Rule) -> bytes:
    """Return a message with the bit of the rule flipped; unchanged if it is too short."""
    changed = bytearray(message)
    if -len(changed) <= rule.value < len(changed):
        changed[rule.value] ^= 1 << rule.bit
    return bytes(changed)


def to_text(rules: Iterable[Rule]) -> str:
    """Write rules as the schedule file has them."""
    return "".join(f"{json.dumps(dataclasses.asdict(rule))}\n" for rule in rules)


def from_text(text: str) -> list[Rule]:
    """Read what `to_text` has written."""
    documents = [json.loads(line) for line in text.splitlines()]
    return [Rule(**{**document, "action": Action(document["action"])}) for document in documents]

"""The commands of the how-tos: which there are, who runs them, what they print, and on which machines they can run.

The info string of a fence says how its block is to be taken; pages show only the first word of it:

    ```sh                          run by root, in the checkout, in one shell for each page
    ```sh user                     run by an ordinary user, in that user's home
    ```sh tpm                      as root, only on a machine that has what the word stands for: see `FEATURES`
    ```sh norun: REASON            not run, because
    ```console                     a session: `# ` is root's prompt, `$ ` the user's; then what they print
    ```python                      the blocks of a page are one program, run by the user
    ```text                        what the block right before it prints
    ```text log                    lines that are then in the log
    ```text norun: REASON          not compared, because

In what is printed `…` stands for anything within a line, and alone in a line for any lines. Numbers, times and long
words in hexadecimal or base64 may be others; see `matches`. Standard library only: it runs where nothing is installed.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
FEATURES: Final = {
    "systemd": "systemd itself, rather than what stands in for it",
    "network": "a network with PyPI, for pip",
    "tpm": "a TPM behind /dev/tpmrm0",
    "swtpm": "no TPM but swtpm",
}
"""What only some machines have."""
SHELLS: Final = ("sh", "console")
REASON: Final = "norun:"
PROMPTS: Final = {"# ": "root", "$ ": "user"}
ANYTHING: Final = "…"
_FENCE: Final = re.compile(r"^(?P<indent> *)```(?P<info>.*)\n(?P<text>(?:.*\n)*?)(?P=indent)```$", re.MULTILINE)
_VARIANTS: Final = {
    "any": (ANYTHING, r".*?"),
    "hex": (r"\b[0-9a-f]{16,}\b", r"[0-9a-f]{16,}"),
    "base64": (r"[A-Za-z0-9+/]{40,}=*", r"[A-Za-z0-9+/]{40,}=*"),
    "number": (r"(?<![^\s(])\d+(?::\d+)*(?![^\s,.)])", r"\d+(?::\d+)*"),
}
"""What a page shows one of, and what stands for all of them."""
_VARIES: Final = re.compile("|".join(f"(?P<{name}>{shown})" for name, (shown, _) in _VARIANTS.items()))


class PageError(Exception):
    """Raised for a block that the markup does not allow; the text names page and line."""


class Block(NamedTuple):
    """A fence."""

    page: str
    line: int
    heading: str
    language: str
    words: tuple[str, ...]
    reason: str | None
    """Why it is not run."""
    text: str

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"{self.page}:{self.line}"

    @property
    def features(self) -> frozenset[str]:
        """What the machine has to have."""
        return frozenset(self.words) & FEATURES.keys()


class Step(NamedTuple):
    """Something to run, and what is expected of it."""

    block: Block
    user: str
    text: str
    expected: str | None = None
    """What it prints, or None where the page does not say."""
    logged: str | None = None


def blocks(page: str) -> list[Block]:
    """Return the fences of a page, in order.

    Raises:
        PageError: An info string is not one of the above.
    """
    text = (ROOT / page).read_text()
    headings = [(match.start(), match[1]) for match in re.finditer(r"^#+ (.+)$", _blanked(text), re.MULTILINE)]
    found = []
    for match in _FENCE.finditer(text):
        info, mark, reason = match["info"].partition(REASON)
        language, *words = info.split() or [""]
        block = Block(
            page,
            text.count("\n", 0, match.start()) + 1,
            [title for start, title in headings if start < match.start()][-1],
            language,
            tuple(words),
            reason.strip() if mark else None,
            re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE),
        )
        _check(block)
        found.append(block)
    return found


def _blanked(text: str) -> str:
    """Return a page without what is in its fences, where a comment looks like a heading; places stay the same."""
    return _FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def _check(block: Block) -> None:
    allowed = {
        "sh": {"user", *FEATURES},
        "console": {*FEATURES},
        "text": {"log"},
        "python": set[str](),
    }.get(block.language)
    if allowed is None:
        return
    if unknown := set(block.words) - allowed:
        raise PageError(f"{block.place}: {block.language} is marked {sorted(unknown)}; expected: {sorted(allowed)}")
    if block.reason == "":
        raise PageError(f"{block.place}: it is not to be run, and no reason is given")


def steps(page: str) -> list[Step]:
    """Return what is to be run of a page, in order.

    Raises:
        PageError: An info string is not one of the above, or a block shows what no block prints.
    """
    found: list[Step] = []
    programs: list[Block] = []
    before: Block | None = None
    for block in blocks(page):
        if block.language in SHELLS and block.reason is None:
            found.extend(_steps(block))
        elif block.language == "text" and block.reason is None:
            _expect(found, block, before)
        elif block.language == "python" and block.reason is None:
            programs.append(block)
        before = block
    if programs:
        found.append(Step(programs[0], "user", "\n".join(block.text for block in programs)))
    return found


def _steps(block: Block) -> Iterator[Step]:
    if block.language == "sh":
        yield Step(block, "user" if "user" in block.words else "root", block.text)
        return
    for command in re.split(r"^(?=[#$] )", block.text, flags=re.MULTILINE)[1:]:
        lines = command.splitlines(keepends=True)
        length = 1 + next(i for i, line in enumerate(lines) if not line.endswith("\\\n"))
        yield Step(block, PROMPTS[command[:2]], "".join(lines[:length])[2:], "".join(lines[length:]))


def _expect(found: list[Step], block: Block, before: Block | None) -> None:
    """Note in the last step what a block of text says that it prints, or logs."""
    if before is not None and before.reason is not None and before.language in SHELLS:
        return
    last = found.pop() if found else None
    if last is None or ("log" not in block.words and last.block is not before):
        raise PageError(f"{block.place}: no block that is run stands right before this text")
    found.append(last._replace(logged=block.text) if "log" in block.words else last._replace(expected=block.text))


def matches(expected: str, printed: str) -> bool:
    """Return whether a command printed what a page says, up to what differs from one machine to the other."""
    lines = expected.strip().splitlines()
    pattern = "".join(r"(?:.*\n)*" if line.strip() == ANYTHING else _line(line) + r"\n" for line in lines)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _spaced(printed).splitlines())) is not None


def logs(expected: str, log: str) -> bool:
    """Return whether each line of a page is in the log."""
    return all(re.search(_line(line), log) for line in expected.splitlines())


def _line(line: str) -> str:
    line = _spaced(line)
    parts, end = [], 0
    for match in _VARIES.finditer(line):
        parts += [re.escape(line[end : match.start()]), _VARIANTS[str(match.lastgroup)][1]]
        end = match.end()
    return "".join([*parts, re.escape(line[end:])])


def _spaced(text: str) -> str:
    """Return a text with one space for several, and no empty line at its end."""
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())


def feature_words(words: Sequence[str]) -> frozenset[str]:
    """Return words as features.

    Raises:
        PageError: One is not a feature.
    """
    if unknown := set(words) - FEATURES.keys():
        raise PageError(f"no machine has {sorted(unknown)}; expected: {', '.join(FEATURES)}")
    return frozenset(words)

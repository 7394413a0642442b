"""The commands of README.md and docs/howto/ do what the pages say, on a machine where somebody follows them in order.

docs/explanation/testing.md, "The how-tos", has the machines; `tools/howtos/pages.py` has the markup.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tools.howtos.follow import ROUTE, Shell, Walk, route
from tools.howtos.pages import FEATURES, ROOT, SHELLS, Block, PageError, Step, blocks, logs, matches, steps
from tools.howtos.scratch import FEATURES as SCRATCH
from tools.howtos.scratch import UNSHARE

PAGES = sorted({page for page, _ in ROUTE})
MACHINES = (set(SCRATCH), FEATURES.keys() - {"tpm"}, FEATURES.keys() - {"swtpm"})
"""What the machines have: that of this test, and the two of `./dev howtos`, with what installs there."""
OTHERS = {"", "ini", "python", "text", "toml"}
"""Languages of fences that hold no commands."""
SECONDS = 600
BLOCK = Block("a page", 1, "A heading", "sh", (), None, "")


def test_every_page_for_operators_is_on_the_way() -> None:
    assert sorted(["README.md", *(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/howto/*.md"))]) == PAGES


def test_every_block_of_commands_runs_or_says_why_not() -> None:
    on_the_way = {step.block.place for step in route()}
    all_blocks = [block for page in PAGES for block in blocks(page)]
    assert {block.language for block in all_blocks} <= {*SHELLS, *OTHERS}
    assert [block.place for block in all_blocks if block.reason is None and block.language in SHELLS] == [
        block.place for block in all_blocks if block.place in on_the_way and block.language in SHELLS
    ]


def test_every_block_runs_on_one_of_the_machines() -> None:
    assert [step.block.place for step in route() if not any(step.block.features <= has for has in MACHINES)] == []


def test_most_blocks_run_in_this_test() -> None:
    here = [step for step in route() if step.block.features <= set(SCRATCH)]
    assert len(here) > len(route()) * 2 // 3


@pytest.mark.parametrize("page", PAGES)
def test_no_commands_stand_outside_of_fences(page: str) -> None:
    prose = re.sub(r"^( *)```.*?^\1```$", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"\n\n {4,}\S.*", prose) == []


@pytest.mark.parametrize(
    "fence",
    ["```sh norun:\nls\n```", "```sh sudo\nls\n```", "```console user\n$ ls\n```", "```text\nout of nowhere\n```"],
)
def test_a_fence_that_is_marked_otherwise_is_refused(fence: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{fence}\n")
    with pytest.raises(PageError, match=rf"{re.escape(str(page))}:3"):
        steps(str(page))


def test_a_session_is_one_step_for_each_prompt(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```console\n# id \\\n    -u\n0\n$ true\n$ id -u\n1000\n```\n")
    found = [(step.user, step.text, step.expected) for step in steps(str(page))]
    assert found == [("root", "id \\\n    -u\n", "0\n"), ("user", "true\n", ""), ("user", "id -u\n", "1000\n")]


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("kim  4724  -  ready  0:00:09", "kim   17  - ready  1:00:00"),
        ("ID: be280988ce0df9aa5b17913ae0e2ca46", "ID:  0a49603a048cfb2b90d7eb3d79064d47\n\n"),
        ("slots=… vendor=IBM", "slots=3 vendor=IBM"),
        ("first\n…\nlast", "first\nlast"),
        ("first\n…\nlast", "first\nsecond\nthird\nlast"),
        ("", ""),
    ],
)
def test_what_varies_may_vary(expected: str, printed: str) -> None:
    assert matches(expected, printed)


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("kim  4724  -  ready", "kim  4724  -  starting"),
        ("kim  4724  -  ready", "kim  -  -  ready"),
        ("worker[pkcs11]", "worker[tpm]"),
        ("first\n…\nlast", "first\nlast\nmore"),
        ("first", "first\nsecond"),
        ("", "a warning"),
    ],
)
def test_what_does_not_vary_has_to_be_the_same(expected: str, printed: str) -> None:
    assert not matches(expected, printed)


def test_each_line_has_to_be_in_the_log() -> None:
    log = 'level=info component=broker event=serving pid=7\nlevel=info event="the TPM is open" slots=3\n'
    assert logs('event="the TPM is open" slots=…\ncomponent=broker event=serving', log)
    assert not logs('event="the token is open"\nevent=serving', log)


@pytest.mark.parametrize("has", MACHINES)
def test_the_way_says_in_the_end_what_it_left_out_and_why(has: set[str]) -> None:
    said = Walk(frozenset(has), "all").summary().splitlines()
    left = [step for step in route() if not step.block.features <= has]
    assert said[0].startswith(f"{len(route()) - len(left)} of {len(route())} steps were run")
    assert len(said) == 1 + len(left)
    for step, line in zip(left, said[1:], strict=True):
        assert f"{step.block.place}, " in line
        assert any(FEATURES[feature] in line for feature in step.block.features - has)


def test_a_block_fails_with_its_first_command_that_fails(tmp_path: Path) -> None:
    shell = Shell("root", tmp_path)
    assert shell.run(Step(BLOCK, "root", "greeting=hello\n")) == (True, "")
    assert shell.run(Step(BLOCK, "root", "printf $greeting\n")) == (True, "hello")
    assert shell.run(Step(BLOCK, "root", "echo one\nfalse\necho two\n")) == (False, "one\n")
    shell.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount over the folders that an installation changes")
def test_the_pages_work_as_they_are_written() -> None:
    follow = ["-m", "tools.howtos.scratch", sys.executable, "-m", "tools.howtos.follow", "--with", *SCRATCH]
    done = subprocess.run(
        [*UNSHARE, sys.executable, *follow],
        cwd=ROOT,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout
    ran = set(re.findall(r"^== (\S+:\d+), ", done.stdout, re.MULTILINE))
    assert ran == {step.block.place for step in route() if step.block.features <= set(SCRATCH)}

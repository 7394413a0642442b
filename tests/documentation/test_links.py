"""Every file that the documentation names is there, and every page can be reached from the first one.

Code cites a page by its path and, in quotation marks, its headings: docs/adr/0000-template.md, "Context" and
"Decision".
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("packaging/**/*.md")])
SOURCES = (
    "broker",
    "cli",
    "client",
    "config",
    "contracts",
    "docs",
    "fetcher",
    "frontend",
    "kim",
    "packaging",
    "providers",
    "runtime",
    "tests",
)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
NAMED = re.compile(rf"`(?P<path>(?:{'|'.join(SOURCES)})/[A-Za-z0-9_./-]+)`")
CITED = re.compile(r"`?(?P<page>docs/[\w./-]+\.md)`?(?P<headings>(?:,? (?:and )?\"[^\"]+\"(?: \([^)]*\))?)*)")
DECISION = re.compile(r"\bADR (\d{4})\b")
ELSEWHERE = re.compile(r"\bfacts (?:on|section)|service-behaviour|backend-traps|wire-and-operations", re.IGNORECASE)
"""Documents that are no part of this tree."""
FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def _anchors(page: Path) -> set[str]:
    """Return the anchors that the headings of a page have on the usual hosts."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _relative_links(page: Path) -> list[tuple[Path, str]]:
    targets = [match["target"] for match in LINK.finditer(_prose(page)) if "://" not in match["target"]]
    parts = [target.partition("#") for target in targets]
    return [((page.parent / path).resolve() if path else page, anchor) for path, _, anchor in parts]


def test_links_lead_somewhere() -> None:
    broken = [
        f"{_name(page)}: {target}#{anchor}"
        for page in PAGES
        for target, anchor in _relative_links(page)
        if not target.exists() or (anchor and anchor not in _anchors(target))
    ]
    assert broken == []


def test_files_that_are_named_are_there() -> None:
    named = [(_name(page), match["path"].rstrip("/")) for page in PAGES for match in NAMED.finditer(_prose(page))]
    assert [(page, path) for page, path in named if not (ROOT / path).exists()] == []


def _code() -> list[Path]:
    return sorted(path for folder in SOURCES for path in (ROOT / folder).rglob("*.py"))


def _headings(page: Path) -> set[str]:
    return set(re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE))


def _joined(source: Path) -> str:
    """Return a module with its comments and strings on one line each, so that a citation may be wrapped."""
    return re.sub(r"\s*\n\s*(?:# )?", " ", source.read_text())


def test_citations_in_code_resolve() -> None:
    cited = [(source, match) for source in _code() for match in CITED.finditer(_joined(source))]
    with_headings = [match for _, match in cited if match["headings"]]
    assert len(with_headings) > len(SOURCES)
    broken = [
        f"{_name(source)}: {match[0]}"
        for source, match in cited
        if not (ROOT / match["page"]).exists()
        or not set(re.findall(r'"([^"]+)"', match["headings"])) <= _headings(ROOT / match["page"])
    ]
    assert broken == []


def test_decisions_that_are_cited_exist() -> None:
    cited = [(source, number) for source in (*_code(), *PAGES) for number in DECISION.findall(source.read_text())]
    assert cited
    assert [(_name(source), n) for source, n in cited if not list(ROOT.glob(f"docs/adr/{n}-*.md"))] == []


def test_nothing_cites_a_document_outside_the_tree() -> None:
    sources = [source for source in (*_code(), *PAGES) if source != Path(__file__)]
    assert [_name(source) for source in sources if ELSEWHERE.search(source.read_text())] == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md" and page.exists():
            reached.add(page)
            waiting.extend(target for target, _ in _relative_links(page))
    template = ROOT / "docs" / "adr" / "0000-template.md"
    assert sorted(set(PAGES) - reached - {template}) == []

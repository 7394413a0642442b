"""List the Debian packages that the pages install, one a line, for those who fetch them beforehand."""

import re

from tools.howtos.follow import route


def packages() -> list[str]:
    """Return their names."""
    commands = [re.sub(r"\\\n", " ", step.text) for step in route()]
    lines = [
        match[1] for command in commands for match in re.finditer(r"^apt-get install (.+)$", command, re.MULTILINE)
    ]
    return sorted({word for line in lines for word in line.split() if not word.startswith("-")})


if __name__ == "__main__":
    print("\n".join(packages()))

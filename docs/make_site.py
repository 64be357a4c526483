"""A hook of MkDocs, named in ``mkdocs.yml``: pages of the repository that lie outside this folder.

README files and the studies' results become pages of the site at the place that they have in the repository, and so
does every source file that a page links to. Links are written for the repository, and turned into the site's here.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
BESIDE = ("*.md", "plugins/*/README.md", "benchmarks/**/*.md")
SOURCES = {".py": "python", ".yaml": "yaml"}
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
NAMED = re.compile(r"^```(\w+) ([^\n`]+)$", re.MULTILINE)  # a block that is a file


def uri(path: Path) -> str:
    """Where a file of the repository lies in the site's sources."""
    inside = path.relative_to(DOCS if path.is_relative_to(DOCS) else ROOT)
    if path.name == "README.md":
        inside = inside.with_name("index.md")
    return f"{inside.as_posix()}.md" if path.suffix in SOURCES else inside.as_posix()


def target(page: Path, link: str) -> Path | None:
    """The file of the repository that a link of a page means, if there is one; of a folder its README."""
    path = (page.parent / link).resolve()
    path = path / "README.md" if path.is_dir() else path
    return path if path.is_file() and path.is_relative_to(ROOT) else None


def on_files(files: Files, config: Any) -> Files:
    """Add what lies outside the folder: pages, and what they and the pages inside link to."""
    beside = {path for pattern in BESIDE for path in ROOT.glob(pattern)}
    pages = {*beside, *DOCS.rglob("*.md")}
    linked = {target(page, link) for page in pages for link in LINK.findall(page.read_text(encoding="utf-8"))}
    for path in sorted(beside | {path for path in linked if path and not path.is_relative_to(DOCS)}):
        if path.suffix in SOURCES:
            content = (
                f"# {path.relative_to(ROOT)}\n\n`````{SOURCES[path.suffix]}\n{path.read_text(encoding='utf-8')}`````\n"
            )
            files.append(File.generated(config, uri(path), content=content))
        else:
            files.append(File.generated(config, uri(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn a page's links into those of the site, and the names of its blocks into their titles."""
    here = page.file.src_uri
    places = {uri(path): path for pattern in BESIDE for path in ROOT.glob(pattern)}
    path = places.get(here, DOCS / here)

    def in_site(link: re.Match[str]) -> str:
        found = target(path, link[1])
        return f"]({posixpath.relpath(uri(found), posixpath.dirname(here))}" if found else link[0]

    return NAMED.sub(r'```\1 title="\2"', LINK.sub(in_site, markdown))

"""Hooks of MkDocs (mkdocs.yml): one text for the repository and for the site.

Pages that stand outside docs/ (README.md, egs/*/README.md, ...) are taken from where they are;
links between files of the repository lead to the page of that file, or to a copy of it; links to
directories become plain text. So every link is written as the repository's web view wants it.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?<!\!)\[(?P<text>(?:[^][]|\[[^][]*\])*)\]\((?P<target>[^)\s]+)\)|"
                  r"!\[(?P<alt>[^]]*)\]\((?P<image>[^)\s]+)\)")  # fmt: skip
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CLASS = re.compile(r"^::: atat\.(?P<name>\w+)$", re.MULTILINE)


def page_of(path: str) -> str:
    """Where a file of the repository stands in the site's sources: docs/x.md is x.md."""
    return path.removeprefix("docs/")


def repository_path(page: str) -> str:
    """The file of the repository that a page comes from."""
    return f"docs/{page}" if (ROOT / "docs" / page).is_file() else page


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand outside docs/: those that the navigation names."""
    for page in pages_of(config.nav):
        if not (ROOT / "docs" / page).is_file():
            add(files, config, page)
    return files


def pages_of(nav: str | list[Any] | dict[str, Any]) -> list[str]:
    """All pages that a navigation names."""
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [page for entry in entries for page in pages_of(entry)]


def add(files: Files, config: MkDocsConfig, path: str) -> None:
    """Add a file of the repository under its own path."""
    if files.get_file_from_path(path) is None:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links into those of the site, and `::: atat.Name` into the module that has the class."""
    source = repository_path(page.file.src_uri)

    def outside_code(text: str) -> str:
        return LINK.sub(lambda match: link(match, source, page, config, files), text)

    pieces, end = [], 0
    for fence in FENCE.finditer(markdown):
        pieces += [outside_code(markdown[end : fence.start()]), fence.group()]
        end = fence.end()
    markdown = "".join([*pieces, outside_code(markdown[end:])])
    return CLASS.sub(lambda match: f"::: {defined_in(match['name'])}.{match['name']}", markdown)


def link(match: re.Match[str], source: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A link or image of the file `source` as the site has it."""
    target, _, anchor = (match["target"] or match["image"]).partition("#")
    if not target or "://" in target or target.startswith("mailto:"):
        return match.group()
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if (ROOT / path).is_dir():
        path = f"{path}/README.md"
        if files.get_file_from_path(path) is None:
            return match["text"]
    if not (ROOT / path).is_file():
        return match.group()  # MkDocs says that it is broken
    if path.endswith(".md") and files.get_file_from_path(page_of(path)) is None:
        return match["text"]
    if not path.endswith(".md"):
        add(files, config, page_of(path))
    place = posixpath.relpath(page_of(path), posixpath.dirname(page.file.src_uri) or ".")
    place += f"#{anchor}" if anchor else ""
    return f"[{match['text']}]({place})" if match["target"] else f"![{match['alt']}]({place})"


def defined_in(name: str) -> str:
    """The module of a class of the API: that of `SpeechToSemantics`, where it imports it from, or
    another of inference.

    Found in the sources, since atat/__init__.py imports late and nothing is run.
    """
    front = re.compile(r"^class SpeechToSemantics\b", re.MULTILINE)
    for path in sorted((ROOT / "atat").rglob("*.py")):
        text = path.read_text("utf-8")
        if front.search(text):
            if re.search(rf"^class {name}\b", text, re.MULTILINE):
                return ".".join(path.relative_to(ROOT).with_suffix("").parts)
            imports = r"^from (\S+) import (?:\([^)]*|.*)"
            for statement in re.finditer(imports, text, re.MULTILINE):
                if re.search(rf"\b{name}\b", statement.group()):
                    return statement[1]
    defines = re.compile(rf"^class {name}\b", re.MULTILINE)
    for path in sorted((ROOT / "atat" / "inference").glob("*.py")):
        if defines.search(path.read_text("utf-8")):
            return ".".join(path.relative_to(ROOT).with_suffix("").parts)
    raise LookupError(f"no module of inference defines or imports {name}")

#!/usr/bin/env python3
"""Checks who imports whom: check-layers.py [REPOSITORY]. Prints file:line of each breach and exits 1.

The rules are the two tables below. Looked at are all paths in src/, in `use` declarations and inline,
outside comments, texts and test modules (`#[cfg(test)] mod ...`, in the file or in one of its own).
"""

import re
import sys
from pathlib import Path

# A layer → what of ours it may name, as prefixes of module paths. '*' is everything. The last part
# 'Item' stands for items of that very module, not of its submodules: they begin with a capital letter.
MAY_IMPORT = {
    "domain": ["domain"],
    "stages": ["domain", "stages"],
    "runner": ["domain", "runner", "stages::Item", "telemetry"],
    "adapters": ["domain", "stages", "runner::ports", "runner::Item", "telemetry", "topics"],
    "config": ["config"],
    "telemetry": ["telemetry"],
    "topics": ["domain", "topics"],
    "app": ["*"],
    "cli": ["*"],
    "lib": ["*"],
    "main": ["*"],
}

# A vendor's crate → the only module that may name it.
HOME = {
    "hickory_resolver": "adapters::http",
    "opentelemetry": "telemetry",
    "opentelemetry_otlp": "telemetry",
    "opentelemetry_prometheus": "telemetry",
    "opentelemetry_sdk": "telemetry",
    "ort": "adapters::onnx",
    "rdkafka": "adapters::kafka",
    "reqwest": "adapters::http",
    "rusqlite": "adapters::sqlite",
    "scylla": "adapters::scylla",
}

# The domain is plain data: these crates and std are all that it may use.
DOMAIN_CRATES = {"blake3", "bytes", "humantime", "serde", "serde_json", "thiserror", "url"}

NOT_CODE = re.compile(
    r"""//[^\n]*
      | /\*.*?\*/
      | \bb?r(\#*)".*?"\1
      | b?"(?:\\.|[^"\\])*"
      | b?'(?:\\(?:x..|u\{[^}]*\}|.)|[^'\\])'""",
    re.DOTALL | re.VERBOSE,
)
VISIBILITY = re.compile(r"\bpub\s*\(\s*in\s[^)]*\)")
TEST_MODULE = re.compile(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*([;{])")
PATH_ATTRIBUTE = re.compile(r'#\[path\s*=\s*"(?:\./)?([\w/]+)\.rs"\]')
DEPENDENCY = re.compile(r"^([\w-]+) *=", re.MULTILINE)
TOKEN = re.compile(r"::|\w+|[{},;*<]")


def blank(text):
    """As many lines, and nothing on them."""
    return re.sub(r"[^\n]", " ", text)


def block_end(code, start):
    """Where the block ends that opens just before start."""
    depth = 1
    for at in range(start, len(code)):
        depth += {"{": 1, "}": -1}.get(code[at], 0)
        if depth == 0:
            return at + 1
    return len(code)


def without_tests(text, module, folder):
    """The code without comments, texts and test modules, and the modules of tests that are files of their own."""
    code = NOT_CODE.sub(lambda found: blank(found[0]), text)
    code = VISIBILITY.sub(lambda found: blank(found[0]), code)
    files = []
    while found := TEST_MODULE.search(code):
        end = found.end()
        if found[2] == "{":
            end = block_end(code, end)
        else:
            elsewhere = PATH_ATTRIBUTE.search(text, found.start(), end)
            files.append((*folder, *elsewhere[1].split("/")) if elsewhere else (*module, found[1]))
        code = code[: found.start()] + blank(code[found.start() : end]) + code[end:]
    return code, files


def modules(code):
    """For each position of a token the modules opened around it, and the token."""
    depth, opened, before = 0, [], ["", ""]
    for token in TOKEN.finditer(code):
        word = token[0]
        if word == "{":
            depth += 1
            if before[0] == "mod":
                opened.append((before[1], depth))
        elif word == "}":
            if opened and opened[-1][1] == depth:
                opened.pop()
            depth -= 1
        yield token.start(), [name for name, _ in opened], word
        before = [before[1], word]


def use_tree(words, at, prefix):
    """The paths of the use tree that starts at words[at], and where it ends."""
    path, found = list(prefix), []
    while at < len(words):
        position, inside, word = words[at]
        if word == "{":
            at += 1
            while at < len(words) and words[at][2] not in ("}", ";"):
                inner, at = use_tree(words, at, path)
                found += inner
                at += at < len(words) and words[at][2] == ","
            return found, at + 1
        if word in (",", "}", ";"):
            break
        if word == "as":
            at += 2
            continue
        if word != "::":
            path.append((position, inside, word))
        at += 1
    return found + [path], at


def paths(code):
    """Every path in the code: a list of (position, modules around it, name)."""
    words = list(modules(code))
    at = 0
    while at < len(words):
        word = words[at][2]
        after = words[at + 1][2] if at + 1 < len(words) else ""
        if word == "use" and after != "<":  # `+ use<>` bounds an opaque type
            found, at = use_tree(words, at + 1, [])
            yield from found
        elif after == "::" and (word[0].isalpha() or word[0] == "_"):
            path = [words[at]]
            while at + 2 < len(words) and words[at + 1][2] == "::" and words[at + 2][2] not in ("{", "*", "<", "::"):
                at += 2
                path.append(words[at])
            yield path
            at += 1
        else:
            at += 1


def absolute(path, module):
    """The path from the crate's root, or None for one that leads elsewhere."""
    names = [name for _, _, name in path]
    here = module + path[0][1] if path else module
    if names[:1] in (["crate"], ["facemill"]):
        return names[1:]
    if names[:1] not in (["self"], ["super"]):
        return None
    while names[:1] in (["self"], ["super"]):
        here = here[:-1] if names[0] == "super" else here
        names = names[1:]
    return here + names


def allows(rule, target):
    parts = rule.split("::")
    if rule == "*":
        return True
    if parts[-1] == "Item":
        parts = parts[:-1]
        return target[: len(parts)] == parts and target[len(parts) :][:1] != [] and target[len(parts)][0].isupper()
    return target[: len(parts)] == parts


def breaches(module, code, crates):
    """(position, what is wrong) for each breach in one file."""
    layer = module[0] if module else "lib"
    if layer not in MAY_IMPORT:
        yield 0, f"'{layer}' is in no row of the table in scripts/check-layers.py: give it one"
        return
    for path in paths(code):
        if not path:
            continue
        position, name = path[0][0], path[0][2]
        target = absolute(path, module)
        if target is not None:
            rules = MAY_IMPORT[layer] + (["::".join(module[:2])] if layer == "adapters" else [])
            if not any(allows(rule, target) for rule in rules):
                yield position, f"{'::'.join(module[:2])} may not import {'::'.join(['crate', *target])}"
        elif name in HOME and not "::".join([*module, ""]).startswith(f"{HOME[name]}::"):
            yield position, f"only {HOME[name]} may name {name}"
        elif layer == "domain" and name in crates - DOMAIN_CRATES:
            yield position, f"domain may not use the crate {name}"


def main(repository):
    source = repository / "src"
    crates = {name.replace("-", "_") for name in DEPENDENCY.findall((repository / "Cargo.toml").read_text())}
    codes, tests = {}, set()
    for file in sorted(source.rglob("*.rs")):
        *folder, name = file.relative_to(source).with_suffix("").parts
        module = folder if name == "mod" or [*folder, name] == ["lib"] else [*folder, name]
        code, test_files = without_tests(file.read_text(), module, folder)
        codes[file] = module, code
        tests.update(test_files)
    wrong = 0
    for file, (module, code) in codes.items():
        if any(tuple(module[:length]) in tests for length in range(1, len(module) + 1)):
            continue
        for position, message in breaches(module, code, crates):
            print(f"{file.relative_to(repository)}:{code.count(chr(10), 0, position) + 1}: {message}")
            wrong += 1
    if not codes:
        print(f"no source file in {source}")
    return 1 if wrong or not codes else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()))

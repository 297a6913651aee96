#!/usr/bin/env python3
"""Each rule of check-layers.py on a small tree that breaks it, and on one that keeps it."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

CHECK = Path(__file__).with_name("check-layers.py")
MANIFEST = '[dependencies]\nserde = "1"\nreqwest = "1"\nserde-x = "1"\n'


def check(files):
    """The exit status and the output for a repository with these sources."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Cargo.toml").write_text(MANIFEST)
        for name, text in files.items():
            file = Path(folder, "src", name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        done = subprocess.run([sys.executable, CHECK, folder], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


class Layers(unittest.TestCase):
    def refuses(self, name, text, line, *words):
        status, output = check({name: text})
        self.assertEqual(status, 1, output)
        self.assertIn(f"src/{name}:{line}: ", output)
        for word in words:
            self.assertIn(word, output)
        self.assertEqual(output.count("\n"), 1, output)

    def accepts(self, files):
        self.assertEqual(check(files), (0, ""))

    def test_each_layer_is_refused_what_lies_above_it(self):
        for layer, target in [
            ("domain/a.rs", "crate::stages::Stage"),
            ("stages/fetch/mod.rs", "crate::runner::ports::Source"),
            ("stages/fetch/mod.rs", "crate::adapters::http::Client"),
            ("runner/driver.rs", "crate::adapters::memory::Log"),
            ("runner/driver.rs", "crate::stages::fetch::Fetch"),
            ("adapters/sqlite/store.rs", "crate::adapters::memory::Log"),
            ("adapters/sqlite/store.rs", "crate::runner::driver::drive"),
            ("adapters/sqlite/store.rs", "crate::config::Settings"),
            ("config.rs", "crate::domain::Reason"),
            ("telemetry/mod.rs", "crate::domain::Reason"),
            ("stages/mod.rs", "facemill::cli"),
            ("domain/a.rs", "crate::*"),
        ]:
            with self.subTest(layer=layer, target=target):
                self.refuses(layer, f"//! Text\n\nuse {target};\n", 3, "may not import")

    def test_every_way_of_writing_a_path_is_seen(self):
        for text, line in [
            ("use std::fmt;\nuse crate::{\n    domain::Face,\n    adapters::{http::Client, sqlite},\n};\n", None),
            ("fn f() -> crate::adapters::X { todo() }\n", 1),
            ("fn f() {\n    super::super::adapters::http::get();\n}\n", 2),
            ("mod inner {\n    use super::super::super::app::App;\n}\n", 2),
            ("pub use crate::app as application;\n", 1),
            ("pub(crate) use self::super::super::app::App;\n", 1),
            ('const A: char = \'"\'; use crate::app::App; const B: char = \'"\';\n', 1),
        ]:
            with self.subTest(text=text):
                status, output = check({"stages/fetch.rs": text})
                self.assertEqual(status, 1, output)
                self.assertIn(f"src/stages/fetch.rs:{line or 2}: " if line else "may not import crate::adapters", output)

    def test_the_line_of_a_use_tree_is_where_the_tree_starts(self):
        self.refuses("runner/a.rs", "use crate::{\n    domain::Face,\n    app::App,\n};\n", 1, "crate::app::App")

    def test_a_vendors_crate_is_named_at_home_only(self):
        for vendor, home in [
            ("rusqlite", "sqlite"), ("ort", "onnx"), ("reqwest", "http"), ("hickory_resolver", "http"),
            ("rdkafka", "kafka"), ("scylla", "scylla"),
        ]:  # fmt: skip
            with self.subTest(vendor=vendor):
                self.accepts({f"adapters/{home}/client.rs": f"use {vendor}::Client;\n"})
                self.accepts({f"adapters/{home}.rs": f"use {vendor}::Client;\n"})
                self.refuses("app.rs", f"use {vendor}::Client;\n", 1, f"only adapters::{home} may name {vendor}")
                self.refuses("adapters/other.rs", f"type A = {vendor}::Client;\n", 1, vendor)

    def test_the_domain_uses_plain_crates_only(self):
        self.accepts({"domain/a.rs": "use serde::Serialize;\nuse std::fmt;\n"})
        self.refuses("domain/a.rs", "use serde_x::Thing;\n", 1, "domain may not use the crate serde_x")

    def test_what_the_table_allows_passes(self):
        self.accepts({
            "domain/mod.rs": "mod face;\npub use face::Face;\n",
            "domain/face.rs": "use super::Face as Other;\n",
            "stages/fetch/mod.rs": "use super::{Effect, Stage};\nuse crate::domain::Face;\n",
            "runner/driver.rs": "use super::ports::Source;\nuse crate::{domain::Face, stages::{Effect, Stage}, telemetry};\n",
            "adapters/http/mod.rs": "use crate::{runner::ports::PortError, stages::fetch::HttpGet};\nmod dns;\nuse self::dns::Dns;\n",
            "adapters/http/dns.rs": "use super::Client;\nuse crate::adapters::http::Client as Same;\n",
            "app.rs": "use crate::{adapters::http, cli, config, runner};\n",
            "cli/local.rs": "use crate::app::App;\n",
            "main.rs": "use facemill::cli;\n",
            "lib.rs": "pub mod domain;\n",
        })  # fmt: skip

    def test_comments_texts_and_tests_may_name_anything(self):
        self.accepts({
            "domain/a.rs": (
                "//! See [`crate::app`].\n/* crate::app */\n"
                'const A: &str = "crate::app";\nconst B: &str = r#"use "crate::app";"#;\n'
                "#[cfg(test)]\nmod tests {\n    use crate::app::App;\n    mod deep { use ort::Session; }\n}\n"
            ),
            "runner/mod.rs": "#[cfg(test)]\nmod model;\n",
            "runner/model.rs": "use crate::app::App;\n",
            "runner/model/deep.rs": "use crate::app::App;\n",
            "stages/a.rs": '#[cfg(test)]\n#[path = "a_tests.rs"]\npub(super) mod tests;\n',
            "stages/a_tests.rs": "use crate::app::App;\n",
        })

    def test_what_only_looks_like_an_import_passes(self):
        self.accepts({"runner/a.rs": "fn f<'a>(a: &'a str) -> impl Fn() + use<'a> { Vec::<u8>::new() }\n"})
        self.accepts({"runner/a.rs": "pub(in super::super) fn f() {}\n"})

    def test_code_after_a_test_module_is_looked_at(self):
        self.refuses("domain/a.rs", "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\nuse crate::app::App;\n", 5)

    def test_a_module_without_a_rule_is_refused(self):
        self.refuses("utilities/a.rs", "", 1, "in no row of the table")

    def test_an_empty_tree_is_no_success(self):
        self.assertEqual(check({})[0], 1)


if __name__ == "__main__":
    unittest.main()

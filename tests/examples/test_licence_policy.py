"""A policy rules on expressions as their operators mean it, and its mistakes are named."""

from __future__ import annotations

import pytest

from examples.licence_audit.policy import Decision, Policy, PolicyError, load_policy

POLICY = Policy(
    rules={
        "MIT": Decision.ALLOW,
        "Apache-2.0": Decision.ALLOW,
        "LGPL-3.0-only": Decision.ASK,
        "GPL-2.0-only": Decision.DENY,
        "GPL-2.0-only WITH Classpath-exception-2.0": Decision.ALLOW,
    }
)


@pytest.mark.parametrize(
    ("expression", "decision"),
    [
        ("MIT", "allow"),
        ("LGPL-3.0-only", "ask"),
        ("GPL-2.0-only", "deny"),
        ("Zlib", "ask"),
        ("LicenseRef-Ours", "ask"),
        ("MIT OR GPL-2.0-only", "allow"),
        ("LGPL-3.0-only OR GPL-2.0-only", "ask"),
        ("MIT AND GPL-2.0-only", "deny"),
        ("MIT AND LGPL-3.0-only", "ask"),
        ("MIT AND (GPL-2.0-only OR Apache-2.0)", "allow"),
        ("GPL-2.0-only AND (MIT OR Apache-2.0)", "deny"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "allow"),
        ("GPL-2.0-only WITH GCC-exception-3.1", "ask"),
        ("Apache-2.0 WITH LLVM-exception", "allow"),
    ],
)
def test_or_takes_the_better_and_the_worse(expression, decision):
    assert POLICY.evaluate(expression).decision == decision


def test_the_reason_names_the_licence_that_decided():
    assert POLICY.evaluate("MIT AND GPL-2.0-only").reason == "GPL-2.0-only is in the list deny"
    assert POLICY.evaluate("MIT AND Zlib").reason == "Zlib is in no list"


def test_an_undeclared_licence_is_asked_about_at_worst():
    assert POLICY.evaluate("MIT", ["Apache-2.0"]).decision is Decision.ALLOW
    assert POLICY.evaluate("MIT", ["GPL-2.0-only"]).decision is Decision.ASK
    assert POLICY.evaluate("GPL-2.0-only", ["Zlib"]).decision is Decision.DENY


@pytest.mark.parametrize("expression", ["", "nonsense", "GPL-2.0", "MIT AND"])
def test_an_invalid_expression_has_no_ruling(expression):
    with pytest.raises(ValueError, match="not a valid SPDX expression"):
        POLICY.evaluate(expression)


def test_the_policy_that_comes_along_is_sound():
    policy = load_policy()
    assert policy.evaluate("MIT").decision is Decision.ALLOW
    assert policy.evaluate("AGPL-3.0-or-later").decision is Decision.DENY


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("allow = [", "cannot be read as TOML"),
        ("allow = 'MIT'", "allow must be a list"),
        ("alow = ['MIT']", "unknown key 'alow'"),
        ("allow = ['MIT', 'Apache2']", r"allow\[1\]: 'Apache2' is not an SPDX identifier"),
        ("allow = [3]", r"allow\[0\]: 3 is not an SPDX identifier"),
        ("allow = ['MIT OR ISC']", r"allow\[0\]: 'MIT OR ISC' is not an SPDX identifier"),
        ("deny = ['GPL-3.0']", r"deny\[0\]: 'GPL-3.0' names two licences; write GPL-3.0-only or"),
        ("allow = ['MIT']\ndeny = ['mit']", r"deny\[0\]: MIT is in the list allow already"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_key(tmp_path, content, message):
    path = tmp_path / "ours.toml"
    path.write_text(content, "utf-8")
    with pytest.raises(PolicyError, match=message) as raised:
        load_policy(path)
    assert str(path) in str(raised.value)


def test_a_missing_policy_is_named(tmp_path):
    with pytest.raises(PolicyError, match=r"nowhere\.toml"):
        load_policy(tmp_path / "nowhere.toml")

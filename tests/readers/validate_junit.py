#!/usr/bin/env python3
"""Checks junit.xml files with readers that are not ours.

Each FILE is validated against tests/data/junit-10.xsd (lxml), but for the attribute `file` of testcases,
and read back by junitparser. Prints one JSON object a file with what they counted. With --expect, the
counts must be as told:

    validate_junit.py junit.xml --expect tests=5,failures=1,errors=0,skipped=2

Exit code: 0 all is well, 1 a file is not as it should be, 2 wrong use. Needs lxml and junitparser.
"""

import argparse
import json
import pathlib
import sys

try:
    from junitparser import Error, Failure, JUnitXml, Skipped, TestSuite
    from lxml import etree
except ImportError as error:
    sys.exit(f"{error}: pip install lxml junitparser")

SCHEMA = pathlib.Path(__file__).resolve().parent.parent / "data" / "junit-10.xsd"
COUNTED = ("tests", "failures", "errors", "skipped")


def validate(path, schema):
    """The ways in which a file breaks the schema, once `file` is dropped from its testcases."""
    tree = etree.parse(str(path), etree.XMLParser(huge_tree=True, resolve_entities=False))
    for case in tree.iter("testcase"):
        case.attrib.pop("file", None)
    if schema.validate(tree):
        return []
    return [f"{error.line}: {error.message}" for error in schema.error_log]


def count(path):
    """What junitparser finds, and what disagrees with the counts in the file."""
    xml = JUnitXml.fromfile(str(path), parse_func=lambda p: etree.parse(p, etree.XMLParser(huge_tree=True)))
    suites = [xml] if isinstance(xml, TestSuite) else list(xml)
    total = dict.fromkeys(COUNTED, 0)
    wrong = []
    names = set()
    for suite in suites:
        found = dict.fromkeys(COUNTED, 0)
        for case in suite:
            found["tests"] += 1
            key = (suite.name, case.classname, case.name)
            if key in names:
                wrong.append(f"testcase {key} occurs twice")
            names.add(key)
            for result in case.result:
                kinds = ((Failure, "failures"), (Error, "errors"), (Skipped, "skipped"))
                # Exactly that type: reruns are no verdicts.
                name = next((name for kind, name in kinds if type(result) is kind), None)
                if name:
                    found[name] += 1
        for name in COUNTED:
            told = getattr(suite, name)
            if told != found[name]:
                wrong.append(f'suite {suite.name}: {name}="{told}", but it has {found[name]}')
            total[name] += found[name]
    if not isinstance(xml, TestSuite):
        for name in ("tests", "failures", "errors"):
            if getattr(xml, name) != total[name]:
                wrong.append(f'testsuites: {name}="{getattr(xml, name)}", but they have {total[name]}')
    return {"file": str(path), "suites": len(suites), **total}, wrong


def expectation(text):
    expected = {}
    for pair in text.split(","):
        name, _, value = pair.partition("=")
        if name not in COUNTED or not value.isdigit():
            raise argparse.ArgumentTypeError(f"{pair!r}: {'|'.join(COUNTED)}=NUMBER")
        expected[name] = int(value)
    return expected


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE", type=pathlib.Path)
    parser.add_argument("--expect", type=expectation, default={}, metavar="NAME=NUMBER,..")
    arguments = parser.parse_args()
    schema = etree.XMLSchema(etree.parse(str(SCHEMA)))
    failed = False
    for path in arguments.files:
        try:
            wrong = [f"not valid: {reason}" for reason in validate(path, schema)]
            counts, disagreements = count(path)
        except (OSError, etree.XMLSyntaxError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            failed = True
            continue
        wrong += disagreements
        for name, number in arguments.expect.items():
            if counts[name] != number:
                wrong.append(f"{name}: expected {number}, found {counts[name]}")
        print(json.dumps(counts))
        for reason in wrong:
            print(f"{path}: {reason}", file=sys.stderr)
        failed |= bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

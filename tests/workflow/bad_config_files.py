"""Configuration files that cannot be read or would harm: what is wrong, what is written, and all that is said."""

from bad_configs import bad

MAPPING = "expected a mapping from keys such as `seed` to values"
BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 8)
)
MAPPING_BOMB = "a0: &a0 {b: 1}\n" + "".join(
    f"a{level}: &a{level} {{a: *a{level - 1}, b: *a{level - 1}, c: *a{level - 1}}}\n" for level in range(1, 15)
)
FILES = [
    bad(
        "a key twice",
        b"seed: 1\ndevice: cpu\nseed: 2\n",
        "config.yaml, line 3: seed stands twice, first in line 1; expected it once",
    ),
    bad(
        "a name twice",
        b"datasets:\n  a: {kind: digits}\n  'a': {kind: digits}\n",
        "config.yaml, line 3: datasets.a stands twice, first in line 2; expected it once",
    ),
    bad(
        "a key twice in JSON",
        b'{\n\t"seed": 1,\n\t"seed": 2\n}',
        "config.yaml, line 3: seed stands twice, first in line 2; expected it once",
    ),
    bad("an empty file", b"\n# nothing\n", f"config.yaml: holds nothing, {MAPPING}"),
    bad("a list", b"- seed\n", f"config.yaml: holds a list, {MAPPING}"),
    bad("a word", b"seed\n", f"config.yaml: holds a single value, {MAPPING}"),
    bad(
        "a bracket left open",
        b"seed: [1\n",
        "config.yaml, line 2: is not valid YAML or JSON (expected ',' or ']', but got '<stream end>')",
    ),
    bad("Latin-1", b"# caf\xe9\nseed: 1\n", "config.yaml: is not encoded in UTF-8 (byte 6), expected YAML or JSON"),
    bad(
        "a control character",
        b"seed: 1\x07\n",
        "config.yaml: is not valid YAML or JSON (special characters are not allowed)",
    ),
    bad(
        "aliases that explode",
        BOMB.encode(),
        "config.yaml: stands for more than 100,000 values once its aliases are expanded",
    ),
    bad(
        "mappings that explode",
        MAPPING_BOMB.encode(),
        "config.yaml: stands for more than 100,000 values once its aliases are expanded",
    ),
    bad(
        "mappings that explode when they are merged",
        MAPPING_BOMB.replace("{a: *", "{<<: [*")
        .replace(", b: ", ", ")
        .replace(", c: ", ", ")
        .replace("}", "]}")
        .replace("{b: 1]}", "{b: 1}")
        .encode(),
        "config.yaml: stands for more than 100,000 values once its aliases are expanded",
    ),
    bad(
        "a list that holds itself",
        b"seed: &s [*s]\n",
        "config.yaml: stands for more than 100,000 values once its aliases are expanded",
    ),
    bad("two documents", b"seed: 1\n---\nseed: 2\n", "config.yaml, line 2: a second document begins, expected one"),
    bad("NUL", b"seed: 1\x00\n", "config.yaml: is not valid YAML or JSON (special characters are not allowed)"),
    bad(
        "a template",
        b"device: cpu\n__use_yte__: true\n",
        "config.yaml, line 2: __use_yte__ makes a template of the file, expected plain values",
    ),
    bad(
        "a template in JSON",
        b'{"__use_yte__": false}',
        "config.yaml, line 1: __use_yte__ makes a template of the file, expected plain values",
    ),
    bad(
        "a number of very many digits",
        b"seed: " + b"9" * 20_000,
        "config.yaml, line 1: a value has 20,000 characters, expected at most 10,000",
    ),
    bad("a very large file", b"#" * 500_001, "config.yaml: is larger than a configuration may be, 500,000 bytes"),
    bad(
        "very many faults",
        b"seed: 1\n" * 31,
        *(f"config.yaml, line {line}: seed stands twice, first in line 1; expected it once" for line in range(2, 22)),
        "config.yaml: has 10 more faults",
    ),
    bad(
        "a mapping that holds itself",
        b"seed: &s {a: *s}\n",
        "config.yaml: stands for more than 100,000 values once its aliases are expanded",
    ),
    bad(
        "a tag that nothing is made of",
        b"seed: !!python/name:os.system 1\n",
        "config.yaml, line 1: is not valid YAML or JSON (could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/name:os.system')",
    ),
    bad(
        "an impossible day",
        b"seed: 2001-02-30\n",
        "config.yaml: has an invalid value (day is out of range for month)",
    ),
    bad("three thousand brackets", b"seed: " + b"[" * 3000 + b"]" * 3000, "config.yaml: is nested too deeply"),
]

"""Problems from files: every fault names its file and key."""

from __future__ import annotations

import zipfile

import pytest

import symkernel as sk
from symkernel.errors import InvalidArgument, MissingValues

# ---- what is refused


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"network": ""}, "key 'network' is missing"),
        ({"network": "", "netwrok": "{}"}, "is 'netwrok' meant"),
        ({"network": "3"}, "key 'network' must be a table"),
        ({"network": '{ kind = "two_layr" }'}, "did you mean 'two_layer'"),
        ({"network": '{ kind = "mlp", sizes = 3 }'}, "'network.sizes' must be a list"),
        ({"network": '{ kind = "mlp", sizes = [3] }'}, "2 to 100 sizes"),
        ({"network": '{ kind = "mlp", sizes = [2, true, 2] }'}, "'network.sizes' must hold"),
        ({"network": '{ kind = "mlp", sizes = [2, 0, 2] }'}, "positive whole number, not 0"),
        ({"network": '{ kind = "mlp", sizes = [2, 99999999, 2] }'}, "weights; these sizes"),
        ({"network": '{ kind = "two_layer", inputs = 2, hiden = 3, outputs = 2 }'},
         "'network.hidden' is missing.*is 'hiden' meant"),
        ({"network": '{ kind = "two_layer", inputs = 3, hidden = 3, outputs = 2 }'}, "3 inputs"),
        ({"symbols": "{ s1 = 1 }"}, "'symbols.s1' must be a table"),
        ({"symbols": "{ s1 = { positiv = true } }"}, "did you mean 'positive'"),
        ({"symbols": "{ s1 = { positive = 1 } }"}, "must be true or false"),
        ({"symbols": "{ t = {} }"}, "flow time"),
        ({"symbols": "{ exp = {} }"}, "'symbols.exp': .* has a meaning"),
        ({"symbols": '{ "a b" = {} }'}, "letter followed by"),
        ({"values": "{ q = 1 }"}, "'values.q' is no symbol .* s1, a"),
        ({"values": "{ s1 = -1 }"}, "'values.s1' must be positive"),
        ({"values": "{ s1 = nan }"}, "'values.s1' must be finite"),
        ({"values": "{ s1 = true }"}, "'values.s1' must be a number"),
        ({"values": "{ s1 = 1e999999999 }"}, "'values.s1': .*digits"),
        ({"values": f"{{ s1 = 0x1{'0' * 2000} }}"}, "'values.s1' must have at most 4096 bits"),
        ({"latex": "{ s = 1 }"}, "'latex.s' must be text"),
        ({"task": ""}, "not neither"),
        ({"phase": '[{ task = { s = 1 } }]'}, "not both"),
        ({"task": "{}"}, "exactly one of the keys .* not by none"),
        ({"task": '{ s = 1, X = "x.csv" }'}, "not by X and s"),
        ({"task": '{ X = "x.csv" }'}, "'task.Y' is missing"),
        ({"task": '{ X = 3, Y = "y.csv" }'}, "'task.X' must be a file"),
        ({"task": '{ X = "x.csv", Y = "y.csv", lables = {} }'}, "did you mean 'labels'"),
        ({"task": '{ X = "x.csv", Y = "y.csv", labels = { samples = ["q"] } }'}, "all 3 samples"),
        ({"task": '{ s = "s1 s1" }'}, "'task.s': .*position 4"),
        ({"task": '{ s = "s3" }'}, "name 's3' is not known"),
        ({"task": '{ s = ["s1", true] }'}, "'task.s' must be a number, a formula"),
        ({"task": "{ s = -1 }"}, "'task'.* non-negative"),
        ({"task": '{ s = "s1^s1^s1^s1^(99*s1)" }'}, "'task.s': .*double|bits"),
        ({"task": '{ s = ["s1", 1], steps = ["centre"] }'}, r"steps\[0\]'.* with samples"),
        ({"task": '{ X = "x.csv", Y = "y.csv", steps = ["center"] }'}, "did you mean 'centre'"),
        ({"task": '{ X = "x.csv", Y = "y.csv", steps = "centre" }'}, "must be a list of"),
        ({"task": '{ X = "x.csv", Y = "y.csv", steps = [{ step = "whiten", components = 9 }] }'},
         r"'task.steps\[0\]': .* between 1 and the rank"),
        ({"task": '{ environment = "digit" }'}, "did you mean 'digits'"),
        ({"task": '{ environment = "semantic_hierarchy", depth = 2 }'}, "branching' is missing"),
        ({"task": '{ environment = "semantic_hierarchy", branching = 2, depth = "a" }'},
         "'task.depth' must be a number"),
        ({"weights": ""}, "key 'weights' is missing"),
        ({"weights": '{ kind = "gausian" }'}, "did you mean 'gaussian'"),
        ({"weights": '{ kind = "aligned", a = 1 }'}, "'weights.b' is missing"),
        ({"weights": '{ kind = "gaussian", scale = "-1" }'}, "'weights': Argument 'scale'"),
        ({"weights": '{ kind = "gaussian", seed = -1 }'}, "'weights': .*'seed'"),
        ({"weights": '{ kind = "gaussian", scale = "a", sede = 1 }'}, "did you mean 'seed'"),
        ({"weights": '{ kind = "arrays", W1 = "x.csv" }'}, "'weights.W2' is missing"),
        ({"weights": '{ kind = "arrays", W1 = "x.csv", W2 = "x.csv" }'}, r"shape \(2, 3\)"),
        ({"loss": '{ factor = "-1" }'}, "'loss.factor': Argument 'factor'"),
        ({"simulate": "{ steps = 3 }"}, "'simulate.learning_rate' is missing"),
        ({"simulate": "{ learning_rate = 0 }"}, "'simulate.learning_rate': .*positive"),
        ({"simulate": "{ learning_rate = 1, steps = 1.5 }"}, "whole number of at least 0"),
        ({"simulate": "{ learning_rate = 1, batch_size = 0 }"}, "whole number of at least 1"),
        ({"simulate": "{ learning_rate = 1, record = [1, 0] }"}, "'simulate.record': .*order"),
        ({"claim": '{ formula = "1" }'}, "'claim.observable' is missing"),
        ({"claim": '[{ observable = ["mode", -1], formula = "1" }]'}, r"'claim\[0\].observable'"),
        ({"claim": '{ observable = ["mode", 7], formula = "1" }'},
         r"'claim.observable' must be 'loss' or \['mode', k\] with 0 <= k < 2, .* not .*7"),
        ({"claim": '[{ observable = "loss", formula = "1" }, '
          '{ observable = ["mode", 2], formula = "1" }]'}, r"'claim\[1\].observable' must be"),
        ({"claim": '{ observable = "loss", formula = 1 }'}, "'claim.formula' must be text"),
        ({"claim": '{ observable = "loss", formula = "q" }'}, "'claim.formula': .*allowed"),
        ({"values": "{ s1 = 1 }"}, "'claim\\[0\\].formula' needs a value for a"),
        ({"sizes": "3"}, "key 'sizes' is not known here"),
    ],
)  # fmt: skip
def test_faults_name_file_and_key(load, tables, words):
    with pytest.raises(InvalidArgument, match=words) as caught:
        load(**tables)
    assert "p.toml: " in str(caught.value)


def test_a_mode_is_refused_where_sizes_are_symbols_with_numbers(load):
    net = '{ kind = "two_layer", inputs = "n", hidden = 3, outputs = "n" }'
    tables = {"network": net, "symbols": "{ n = { integer = true, positive = true } }"}
    tables |= {"task": '{ s = "1", multiplicity = "n" }', "loss": "",
               "weights": '{ kind = "aligned", a = 1, b = 1 }'}  # fmt: skip
    claim = '{ observable = ["mode", 2], formula = "1" }'
    assert load(values="{ n = 3 }", claim=claim, **tables).claims
    with pytest.raises(InvalidArgument, match="0 <= k < 2"):
        load(values="{ n = 2 }", claim=claim, **tables)


def test_values_that_are_missing(load):
    file = load(values="{ a = 1 }", claim="")
    with pytest.raises(MissingValues, match=r"p.toml: table 'values' .* s1 has none"):
        _ = file.numeric


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.csv", "", "is empty"),
        ("x.csv", "# no rows\n\n", "is empty"),
        ("x.csv", "one,two\n", "header line alone"),
        ("x.csv", "1,2\n3\n", "line 2 has 1 fields, the first row 2"),
        ("x.csv", "a,b\n1,2\n1,2,3\n", "line 3 has 3 fields, the header line 2"),
        ("x.csv", "1,2\n\n3,four\n", "line 3, column 2 is 'four'"),
        ("x.csv", "1,b\n3,4\n", "line 1, column 2 is 'b'"),
        ("x.csv", "1;2\n3;4\n", "line 2|header line|column 1"),
        ("x.csv", "1,2\n3,\n", "line 2, column 2 is ''"),
        ("x.csv", "1,2\n3,nan\n", "line 2, column 2 is 'nan'"),
        ("x.csv", "1,2\n3,1e999\n", "line 2, column 2"),
        ("x.csv", "1,2\n3,1_0\n", "line 2, column 2"),
        ("x.csv", "1,2\n3,__import__('os')\n", "line 2, column 2"),
        ("x.csv", b"1,\xff\n", "UTF-8; byte 2"),
        ("d.npz", b"PK nothing", "NPZ archive"),
    ],
)
def test_faults_in_arrays(load, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    reference = name if name.endswith(".csv") else "d.npz:X"
    with pytest.raises(InvalidArgument, match=words) as caught:
        load(task=f'{{ X = "{reference}", Y = "y.csv" }}', weights='{ kind = "gaussian" }')
    assert "p.toml: key 'task.X': " in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("none.csv", "does not exist"),
        (".", "must be the name of a CSV"),
        ("folder.csv", "not a folder"),
        ("d.npz", "which array is meant, as in 'd.npz:X'; the file holds X, Y, O"),
        ("d.npz:Z", "holds no array 'Z'; it holds X, Y, O"),
        ("d.npz:O", "not Python objects"),
        ("x.txt", "must be the name of a CSV"),
        ("x\\u0000.csv", "cannot be opened|does not exist"),
        ("q" * 5000 + ".csv", "cannot be opened|does not exist"),
    ],
)
def test_references(load, tmp_path, reference, words):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InvalidArgument, match=words):
        load(task=f'{{ X = "{reference}", Y = "y.csv" }}', weights='{ kind = "gaussian" }')


def test_an_array_that_lies_about_its_size_is_refused(load, tmp_path):
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    text = header.ljust(117) + "\n"
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("X.npy", b"\x93NUMPY\x01\x00\x76\x00" + text.encode())
        archive.writestr("Y.npy", b"nothing")
    for key, words in (("X", "must not be larger"), ("Y", "cannot be read")):
        with pytest.raises(InvalidArgument, match=words):
            load(task=f'{{ X = "d.npz:{key}", Y = "y.csv" }}', weights='{ kind = "gaussian" }')


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"network = \n", "no TOML: .*line 1, column"),
        (b"a = 1\na = 2\n", "no TOML: .*line 2"),
        (b"\xff", "UTF-8"),
        (b"a = " + b"[" * 5000, "nested too deeply|no TOML"),
        (b"a = " + b"9" * 5000, "no TOML"),
        (b"#" * (2**20 + 1), "larger than 1 MiB"),
    ],
)
def test_bad_toml(tmp_path, content, words):
    (tmp_path / "p.toml").write_bytes(content)
    with pytest.raises(InvalidArgument, match=words) as caught:
        sk.load_problem(str(tmp_path / "p.toml"))
    assert "p.toml" in str(caught.value)


@pytest.mark.parametrize(
    "path", [None, 3, b"p.toml", ["p.toml"], "", "none.toml", "/", "/dev/null"]
)
def test_bad_paths(path):
    with pytest.raises(InvalidArgument, match=r"must be a file|does not exist"):
        sk.load_problem(path)

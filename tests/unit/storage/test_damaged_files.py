"""Whatever happens to a file, its reader gives a result or says in one line why there is none."""

import dataclasses
import hashlib
import io
import pickle
import resource
import warnings
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from PIL import Image

import cifar_archive
from approxgrad.datasets.cifar10 import Cifar10
from approxgrad.datasets.cifar_batches import read_batch, read_class_names
from approxgrad.datasets.image_folder import ImageFolder
from approxgrad.datasets.pixels import FORMATS, decoded, pillow_limits
from approxgrad.datasets.table import Table
from approxgrad.descriptions import read as described
from approxgrad.evaluation.frames import read_keyed
from approxgrad.models.model_files import build_model, load_model
from approxgrad.models.saved import save_model
from approxgrad.models.weights import fit_weights, read_weights
from approxgrad.provenance.document import read_provenance
from approxgrad.running.job import EXPECTED_ERRORS, is_expected
from approxgrad.storage.attributions import Attributions, attribution_file, read_attributions, write_attributions
from approxgrad.storage.cached_arrays import read_arrays
from approxgrad.storage.splits import Split, read_mean_input, read_split, write_split
from approxgrad.storage.table_checks import TableError
from approxgrad.storage.tables import read_table, write_table
from approxgrad.study.shards import gather
from damage import DAMAGES, LONG, SHORT, damaged

GIBIBYTE = 2**30
ROWS, FEATURES = 40, 3
NETWORK = {"architecture": "mlp", "input_shape": (FEATURES,), "outputs": 2, "hidden": [4], "dropout": 0.1}
TABLE = {"task": "classification", "validation": 0.2, "test": 0.2, "normalisation": "standardise"}
PHOTOS = {"size": [4, 4], "channels": 3, "validation": 0.5}
COLUMNS = {"features": ["a", "b", "c"], "target": "y"}
SOURCE = {"family": "forward", "setting": 0.1, "setting_name": "step", "chosen": False}
SOURCE |= {"dtype": "float32", "evaluations": 4}


def random():
    return np.random.default_rng(0)


def frame():
    return pd.DataFrame(random().normal(size=(ROWS, FEATURES)).round(3), columns=list("abc")).assign(y=[0, 1] * 20)


def model():
    torch.manual_seed(0)
    return build_model(**NETWORK)


def write_features(path):
    features = random().normal(size=(ROWS, FEATURES)).astype(np.float32)
    write_split(path, Split(features, np.arange(ROWS) % 2, features, (FEATURES,), ("no", "yes")), {})


def write_maps(path):
    maps = random().normal(size=(6, FEATURES))
    metadata = SOURCE | {"feature_shape": [FEATURES]}
    inputs = maps.astype(np.float32)
    write_attributions(path, Attributions(np.arange(6), maps, inputs, np.arange(6) % 2, inputs, metadata, maps[:, 0]))


def picture(form):
    content = io.BytesIO()
    Image.fromarray(random().integers(0, 256, (6, 7, 3), np.uint8)).save(content, form)
    return content.getvalue()


def write_photos(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (f"{part}/{label}/{n}.png" for part in ("train", "test") for label in "ab" for n in range(2)):
            archive.writestr(name, picture("PNG"))


def write_arrays(path, save=np.savez):
    save(path, x=frame()[list("abc")].to_numpy(), y=frame()["y"].to_numpy())


def read_features(path):
    read_split(path).model_inputs()
    read_mean_input(path)


def read_columns(path):
    return described(Table, TABLE | COLUMNS | {"path": str(path)}).prepare(0, [path])


def read_npz(path):
    return described(Table, TABLE | {"arrays": {"all": ["x", "y"]}, "path": str(path)}).prepare(0, [path])


def write_archive(path):
    cifar_archive.write_archive(path, cifar_archive.contents(2, 2))
    path.with_name("md5").write_text(hashlib.md5(path.read_bytes()).hexdigest())


def read_archive(path, md5=None):
    download = {"md5": md5 or path.with_name("md5").read_text()}
    return described(Cifar10, {"validation": 2, "download": download}).prepare(0, [path])


def read_any_archive(path):
    # With the sum of what is there, so that damage comes as far as the reader.
    return read_archive(path, hashlib.md5(path.read_bytes()).hexdigest())


def read_fitting(path):
    fit_weights(model(), read_weights(path)[0], str(path))


def read_picture(path):
    with pillow_limits():
        return decoded(path.read_bytes(), (4, 4), 3, str(path))


READERS = {
    "attributions.parquet": (write_maps, read_attributions),
    "split.parquet": (write_features, read_features),
    "table.csv": (lambda path: frame().to_csv(path, index=False), read_columns),
    "table.parquet": (lambda path: frame().to_parquet(path), read_columns),
    "table.npz": (write_arrays, read_npz),
    "compressed.npz": (lambda path: write_arrays(path, np.savez_compressed), read_npz),
    "cached.npz": (
        lambda path: np.savez(path, arr1=np.ones((4, 5)), arr2=np.ones((4, 5))),
        lambda path: read_arrays(path, {"exact": "arr1", "approximated": "arr2"}),
    ),
    "model.safetensors": (
        lambda path: save_model(path, model(), NETWORK),
        lambda path: load_model(path, torch.device("cpu")),
    ),
    "weights.safetensors": (lambda path: save_model(path, model(), NETWORK), read_fitting),
    "weights.pt": (lambda path: torch.save(model().state_dict(), path), read_fitting),
    "old.pt": (
        lambda path: torch.save(model().state_dict(), path, _use_new_zipfile_serialization=False),
        read_fitting,
    ),
    "archive.tar.gz": (write_archive, read_any_archive),
    "data_batch_1": (
        lambda path: path.write_bytes(pickle.dumps(cifar_archive.batch(3, 1), protocol=2)),
        lambda path: read_batch(path.read_bytes(), str(path)),
    ),
    "batches.meta": (
        lambda path: path.write_bytes(pickle.dumps({b"label_names": cifar_archive.NAMES}, protocol=2)),
        lambda path: read_class_names(path.read_bytes(), str(path)),
    ),
    "photos.zip": (
        write_photos,
        lambda path: described(ImageFolder, PHOTOS | {"path": str(path)}).prepare(0, [path]),
    ),
    **{f"picture.{form}": (lambda path, form=form: path.write_bytes(picture(form)), read_picture) for form in FORMATS},
}


@pytest.fixture(params=READERS)
def kind(request, tmp_path):
    """A reader, the place it reads from, and a valid file."""
    write, read = READERS[request.param]
    path = tmp_path / request.param
    write(path)
    read(path)
    return read, path, path.read_bytes()


@pytest.fixture
def little_memory():
    """Let nothing ask for more than 4 GiB, as damaged lengths and shapes would."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    occupied = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()  # noqa: SIM115, PTH123
    resource.setrlimit(resource.RLIMIT_AS, (occupied + 4 * GIBIBYTE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def check_reader(kind, limits):
    read, path, content = kind

    @limits
    @given(damages=DAMAGES)
    def check(damages):
        path.write_bytes(damaged(content, damages))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read(path)
            except Exception as error:
                if not is_expected(error):
                    raise
                (line,) = str(error).splitlines()
                assert line.isprintable()
                assert str(path) in line or "leaves" in line  # or a share of rows that are too few

    check()


def test_damaged_files_are_read_or_refused_in_one_line(kind, little_memory):
    check_reader(kind, SHORT)


@pytest.mark.soak
def test_thousands_of_damaged_files_are_read_or_refused_in_one_line(kind, little_memory):
    check_reader(kind, LONG)


# Bits that flip


def contents(value):
    """All that a reader found, in a form in which equal means equal in every bit."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        array = np.asarray(value)
        return array.dtype.str, array.shape, array.tobytes()
    if dataclasses.is_dataclass(value):
        return {field.name: contents(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, pa.Table):
        return [contents(column.combine_chunks().to_pylist()) for column in value.columns], str(value.schema)
    if isinstance(value, dict):
        return {key: contents(own) for key, own in value.items()}
    return [contents(own) for own in value] if isinstance(value, (list, tuple)) else repr(value)


def write_measures(path):
    own = frame().assign(gradient=["exact", "forward-h0.1"] * 20, setting=[None, 0.1] * 20)
    write_table(
        path, pa.Table.from_pandas(own, preserve_index=False), {"provenance": {"script": "evaluate.py"}, "n": 1}
    )


def read_pieces(path):
    file = attribution_file(path, ["attribution"])
    return list(file.pieces(["attribution", "truth"])), file.take([4, 1], ["input"]), file.metadata


def write_shard(path):
    row = np.arange(6.0)
    metadata = SOURCE | {"feature_shape": [3]}
    metadata |= {"model_evaluations": 24, "check_evaluations": 9, "lost_steps": 0}
    metadata |= {"batch_size": 4, "device": "cpu", "versions": {"torch": "2"}, "rounding_ratios": [0.5]}
    maps = random().normal(size=(6, FEATURES))
    write_attributions(
        path, Attributions(row.astype(int), maps, maps.astype(np.float32), None, None, metadata, row, row)
    )


def read_gathered(path):
    metadata = gather([path, path], path.with_name("gathered.parquet"))
    return metadata, read_attributions(path.with_name("gathered.parquet"))


def read_model(path):
    network = load_model(path, torch.device("cpu"))
    return repr(network), network.state_dict()


FLIPPED = {
    "attributions.parquet": (write_maps, read_attributions),
    "pieces.parquet": (write_maps, read_pieces),
    "split.parquet": (write_features, lambda path: (read_split(path), read_mean_input(path))),
    "measures.parquet": (write_measures, read_table),
    "keyed.parquet": (write_measures, lambda path: read_keyed(path, dataset="a").to_dict("list")),
    "provenance.parquet": (write_measures, read_provenance),
    "shard.parquet": (write_shard, read_gathered),
    "model.safetensors": (lambda path: save_model(path, model(), NETWORK), read_model),
    "weights.safetensors": (lambda path: save_model(path, model(), NETWORK), read_weights),
    "provenance.safetensors": (lambda path: save_model(path, model(), NETWORK | {"provenance": {}}), read_provenance),
    # Of formats that have checksums of their own.
    "weights.pt": (lambda path: torch.save(model().state_dict(), path), read_weights),
    "table.npz": (write_arrays, read_npz),
    "compressed.npz": (lambda path: write_arrays(path, np.savez_compressed), read_npz),
    "cached.npz": READERS["cached.npz"],
    "archive.tar.gz": (write_archive, read_archive),
    "photos.zip": READERS["photos.zip"],
    "picture.PNG": READERS["picture.PNG"],
}
FLIPS = 1000


@pytest.mark.parametrize("name", FLIPPED)
def test_no_flipped_bit_changes_what_is_read(name, tmp_path, little_memory):
    write, read = FLIPPED[name]
    path = tmp_path / name
    write(path)
    expected, content, generator = contents(read(path)), path.read_bytes(), np.random.default_rng(0)
    places = generator.choice(8 * len(content), min(FLIPS, 8 * len(content)), replace=False)
    refused = 0
    for place in places.tolist():
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            found = contents(read(path))
        except EXPECTED_ERRORS:
            refused += 1
        else:
            assert found == expected, f"bit {place % 8} of byte {place // 8}"
    assert refused


def test_an_array_that_got_shorter_is_refused(tmp_path):
    """Its checksum stands behind all of it, where a reader of the shorter one does not come."""
    path = tmp_path / "cached.npz"
    np.savez(path, arr1=np.ones((14, 5)), arr2=np.ones((14, 5)))
    content = path.read_bytes()
    assert content.count(b"(14, 5)") == 2
    path.write_bytes(content.replace(b"(14, 5)", b"(10, 5)"))
    with pytest.raises(TableError, match=r"cached\.npz: cannot be read as npz .*CRC"):
        read_arrays(path, {"exact": "arr1", "approximated": "arr2"})


def test_a_torch_file_that_was_saved_without_checksums_is_read(tmp_path):
    path = tmp_path / "weights.pt"
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(model().state_dict(), path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert contents(read_weights(path)[0]) == contents(dict(model().state_dict()))


@pytest.mark.parametrize(
    "content",
    [
        # A memo of sixteen bytes for each of four billion places, and an array of bytes of a tebibyte.
        b"\x80\x02}r\xff\xff\xff\xff.",
        b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b".",
    ],
)
def test_a_few_bytes_take_no_gigabytes(content, little_memory):
    with pytest.raises(ValueError, match=r"^x: (contains LONG_BINPUT|is not a CIFAR-10 batch \(expected)"):
        read_class_names(content, "x")

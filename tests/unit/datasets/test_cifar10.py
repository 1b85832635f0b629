import hashlib
import os
import pickle
import re
import tarfile

import numpy as np
import pytest

from approxgrad.datasets import cifar_batches
from approxgrad.datasets.cifar10 import Cifar10, Download
from approxgrad.datasets.cifar_batches import read_batch, read_class_names
from approxgrad.datasets.drawing import Limit
from approxgrad.datasets.faults import DatasetError
from approxgrad.datasets.normalisation import Normalisation
from cifar_archive import FOLDER, NAMES, batch, contents, write_archive

NORMALISATION = Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


@pytest.fixture
def archive(tmp_path):
    return write_archive(tmp_path / "cifar-10-python.tar.gz", contents())


def prepare(archive, seed=0, **options):
    download = Download(md5=hashlib.md5(archive.read_bytes()).hexdigest())
    own = {"validation": 25, "normalisation": NORMALISATION} | options
    return Cifar10(download=download, **own).prepare(seed, [archive])


def originals(split):
    return [bytes(row) for row in np.rint(split.features * 255).astype(np.uint8)]


def test_an_archive_is_split(archive):
    members = contents()
    parts = prepare(archive)
    assert {name: len(part.target) for name, part in parts.items()} == {"train": 75, "validation": 25, "test": 30}
    training = [members[f"data_batch_{number}"] for number in range(1, 6)]
    labels = {bytes(row): label for b in training for row, label in zip(b[b"data"], b[b"labels"], strict=True)}
    drawn = originals(parts["train"]) + originals(parts["validation"])
    assert sorted(drawn) == sorted(labels)
    for name in ("train", "validation"):
        assert [labels[image] for image in originals(parts[name])] == parts[name].target.tolist()
    test = members["test_batch"]
    np.testing.assert_array_equal(parts["test"].features, test[b"data"].astype(np.float32) / np.float32(255))
    assert parts["test"].target.tolist() == test[b"labels"]
    for part in parts.values():
        assert part.features.dtype == np.float32
        assert part.target.dtype == np.int64
        assert part.feature_shape == (3, 32, 32)
        assert part.classes == tuple(name.decode() for name in NAMES)
        assert (part.mean, part.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def test_limits_keep_the_validation_images(archive):
    whole, small = prepare(archive), prepare(archive, limit=Limit(12, 7))
    assert {name: len(part.target) for name, part in small.items()} == {"train": 12, "validation": 25, "test": 7}
    np.testing.assert_array_equal(small["validation"].features, whole["validation"].features)
    for name in ("train", "test"):
        assert set(originals(small[name])) < set(originals(whole[name]))
    assert Cifar10(limit=Limit(test=7)).test_rows == 7
    assert Cifar10().test_rows == Cifar10(limit=Limit(train=12)).test_rows == 10_000
    assert (Cifar10().training_rows, Cifar10(limit=Limit(train=12)).training_rows) == (45_000, 12)


def test_draws_follow_the_seed(archive):
    first, again, other = prepare(archive, 1), prepare(archive, 1), prepare(archive, 2)
    assert originals(first["validation"]) == originals(again["validation"])
    assert originals(first["validation"]) != originals(other["validation"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"validation": 99}, r"validation: leaves 1 of [0-9,]+ rows to train on, expected at least 2"),
        ({"validation": 1000}, r"validation: leaves 0 of [0-9,]+ rows"),
        ({"limit": Limit(train=76)}, r"limit.train: got 76, expected at most 75"),
        ({"limit": Limit(test=31)}, r"limit.test: got 31, expected at most 30"),
    ],
)
def test_numbers_that_do_not_fit_the_archive_are_refused(archive, options, expected):
    with pytest.raises(DatasetError, match=expected):
        prepare(archive, **options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"validation": 49_999}, "validation: leaves 1 of [0-9,]+ rows to train on, expected at least 2"),
        ({"limit": Limit(train=45_001)}, "limit.train: got 45001, expected at most 45000, the rows that there are"),
        ({"limit": Limit(test=10_001)}, "limit.test: got 10001, expected at most 10000, the rows that there are"),
        ({"normalisation": Normalisation((0, 0), (1,))}, "normalisation.mean: got 2 numbers, expected 1 or 3"),
    ],
)
def test_numbers_that_do_not_fit_are_known_before_the_download(options, expected):
    (fault,) = Cifar10(**options).faults()
    assert re.fullmatch(expected, fault)


def test_what_the_rows_depend_on():
    own = Cifar10(download=Download(addresses=("a", "ftp://x/y"), md5="0" * 32))
    assert own.tracked()["download"] == {"md5": "0" * 32}
    assert own.sources("small") == ["data/small/cifar-10-python.tar.gz"]
    (fault,) = own.faults()
    assert fault.startswith("download.addresses[1]: got 'ftp://x/y', expected https://")


# Archives that are something else


@pytest.mark.parametrize("missing", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_missing_member_is_named(tmp_path, missing):
    members = contents()
    # Names are matched exactly: neither another folder nor a longer name stands in.
    members[f"elsewhere/{missing}"] = members[f"{FOLDER}/{missing}x"] = members.pop(missing)
    path = write_archive(tmp_path / "a.tar.gz", members)
    with pytest.raises(DatasetError, match=rf"a.tar.gz: lacks {FOLDER}/{missing}$"):
        prepare(path)


def test_links_are_not_followed(tmp_path):
    members = contents()
    content = members.pop("test_batch")
    path = tmp_path / "a.tar.gz"
    write_archive(path, members | {"elsewhere/test_batch": content})
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as copy, tarfile.open(path) as tar:
        for member in tar:
            copy.addfile(member, tar.extractfile(member))
        link = tarfile.TarInfo(f"{FOLDER}/test_batch")
        link.type, link.linkname = tarfile.LNKTYPE, "elsewhere/test_batch"
        copy.addfile(link)
    with pytest.raises(DatasetError, match=r"lacks .*test_batch"):
        prepare(tmp_path / "b.tar.gz")


def test_a_member_that_is_too_large_is_refused(archive, monkeypatch):
    monkeypatch.setattr(cifar_batches, "LARGEST_MEMBER", 1000)
    with pytest.raises(DatasetError, match=rf"{FOLDER}/data_batch_1 has \d+ bytes, expected at most 1000"):
        prepare(archive)


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_file_that_is_no_archive_is_refused(archive, content):
    archive.write_bytes(archive.read_bytes()[:-50_000] if content is None else content)
    with pytest.raises(DatasetError, match=r"cifar-10-python.tar.gz: cannot be read as a .tar.gz archive"):
        prepare(archive)


def test_an_archive_that_is_missing_or_another_one_is_told(tmp_path, archive):
    with pytest.raises(DatasetError, match=r"x.tar.gz: cannot be read .*No such file"):
        Cifar10().prepare(0, [tmp_path / "x.tar.gz"])
    with pytest.raises(DatasetError, match=r"tar.gz: has the MD5 sum \w{32}, expected c58f3\w{27} \(download.md5\)"):
        Cifar10().prepare(0, [archive])


# Batches that are something else


class Evil:
    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_code_in_a_batch_is_not_run(tmp_path, protocol):
    content = pickle.dumps(batch(5, 0) | {b"data": Evil(os.mkdir, str(tmp_path / "hacked"))}, protocol)
    with pytest.raises(DatasetError, match=r"test: contains \w+.mkdir, which is not part of a CIFAR-10 batch"):
        read_batch(content, "test")
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [("builtins", "eval"), ("__builtin__", "eval"), ("numpy", "load"), ("os", "system"), ("numpy", "ndarray.tofile")],
)
def test_nothing_else_can_be_named(module, name):
    content = f"c{module}\n{name}\n.".encode()
    with pytest.raises(DatasetError, match=f"test: contains {module}.{name}, which is not part of a CIFAR-10 batch"):
        read_batch(content, "test")


def test_a_malicious_archive_is_refused(tmp_path):
    members = contents() | {"batches.meta": {b"label_names": Evil(eval, "1")}}
    path = write_archive(tmp_path / "a.tar.gz", members)
    with pytest.raises(DatasetError, match=r"a.tar.gz: batches.meta: contains \w+.eval, which is not part of"):
        prepare(path)


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_whatever_their_order(protocol, order):
    own = batch(5, 0)
    content = pickle.dumps(own | {b"data": np.array(own[b"data"], order=order)}, protocol)
    images, labels = read_batch(content, "test")
    np.testing.assert_array_equal(images, own[b"data"])
    assert labels.tolist() == own[b"labels"]


def test_batches_that_python_2_wrote_are_read():
    data = b"\x00\xff" * 1536
    content = (
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85"
        b"U\x01b\x87Rq\x05(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ"
        b"\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + len(data).to_bytes(4, "little") + data + b"tb"
        b"U\x06labels]K\x07au."
    )
    images, labels = read_batch(content, "test")
    assert images.tobytes() == data
    assert images.shape == (1, 3072)
    assert labels.tolist() == [7]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({b"data": np.zeros((5, 3071), np.uint8)}, r"data is \(5, 3071\), expected an array of shape \(N, 3072\)"),
        ({b"data": np.zeros(3072, np.uint8)}, r"data is \(3072,\)"),
        ({b"data": np.zeros((0, 3072), np.uint8)}, r"data is \(0, 3072\)"),
        ({b"data": np.zeros((5, 3072), np.float32)}, r"data has the type .*f4.*, expected unsigned bytes"),
        ({b"data": np.array([None] * 5)}, r"data has the type .*O8"),
        ({b"data": [0] * 3072}, r"data is list"),
        ({b"labels": [0] * 4}, r"labels is 4 values, expected a list of 5 numbers"),
        ({b"labels": (0,) * 5}, r"labels is tuple"),
        ({b"labels": [0, 1, 10, 3, 4]}, r"contains the label 10, expected numbers from 0 to 9"),
        ({b"labels": [0, 1, -1, 3, 4]}, r"contains the label -1"),
        ({b"labels": [0, 1, 2.0, 3, 4]}, r"contains the label 2.0"),
    ],
)
def test_wrong_batches_are_refused(changes, expected):
    with pytest.raises(DatasetError, match=f"test: {expected}"):
        read_batch(pickle.dumps(batch(5, 0) | changes, 3), "test")


@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"no pickle", b"\x80\x02]."])
def test_a_batch_that_is_no_pickle_is_refused(content):
    with pytest.raises(DatasetError, match=r"test: is not a CIFAR-10 batch \("):
        read_batch(content, "test")


@pytest.mark.parametrize("names", [None, NAMES[:9], "airplane", [1] * 10])
def test_wrong_class_names_are_refused(names):
    with pytest.raises(DatasetError, match="test: label_names is not a list of 10 names"):
        read_class_names(pickle.dumps({b"label_names": names}, 2), "test")

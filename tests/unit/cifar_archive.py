"""Small archives in the layout of CIFAR-10's own."""

import io
import pickle
import tarfile

import numpy as np

FOLDER = "cifar-10-batches-py"
NAMES = [b"airplane", b"automobile", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse", b"ship", b"truck"]


def batch(rows, seed):
    generator = np.random.default_rng(seed)
    return {
        b"data": generator.integers(0, 256, (rows, 3072), np.uint8),
        b"labels": [int(label) for label in generator.permutation(np.arange(rows) % 10)],
    }


def contents(rows=20, test_rows=30):
    """Return what the pickled members hold, by name."""
    members = {f"data_batch_{number}": batch(rows, number) for number in range(1, 6)}
    return {**members, "test_batch": batch(test_rows, 6), "batches.meta": {b"label_names": NAMES}}


def write_archive(path, members):
    """Write members, pickled unless they are bytes, into a .tar.gz file."""
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            data = content if isinstance(content, bytes) else pickle.dumps(content, protocol=2)
            info = tarfile.TarInfo(name if "/" in name else f"{FOLDER}/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path

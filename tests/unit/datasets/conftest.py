"""What several tests of images share."""

import pytest

from image_folders import write_folder, write_zip


@pytest.fixture(params=[write_folder, write_zip], ids=["folder", "zip"])
def write(request, tmp_path):
    """A function that writes images into a folder or an archive and returns its path."""
    return lambda contents: request.param(tmp_path / "photos", contents)

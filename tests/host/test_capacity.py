"""Free memory and disk of the host."""

import shutil

import pytest

from host import capacity


def test_available_memory_is_mem_available_in_mebibytes(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:   2048 kB\nCached: 7 kB\n")
    assert capacity.read_available_memory_mb(tmp_path / "meminfo") == 2


def test_a_table_without_mem_available_raises(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\n")
    with pytest.raises(ValueError, match="no MemAvailable"):
        capacity.read_available_memory_mb(tmp_path / "meminfo")


def test_this_host_has_available_memory():
    assert capacity.read_available_memory_mb() > 0


def test_free_disk_is_that_of_the_folders_file_system(tmp_path):
    free = shutil.disk_usage(tmp_path).free // capacity.MEBIBYTE
    assert abs(capacity.read_free_disk_mb(tmp_path) - free) < 1024

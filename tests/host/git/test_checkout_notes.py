"""What an exported commit lacks is named, by kind."""

from host.git.checkout_notes import LFS_HEADER, LeftOut, describe, name_files

POINTER = LFS_HEADER.decode() + f"oid sha256:{7:064d}\nsize 132077\n"


def find(laptop, repository, files):
    commit = laptop.commit("main", files)
    repository.fetch(str(laptop.folder))
    return repository.find_left_out(commit)


def test_pointers_filters_and_archive_attributes_are_found(laptop, repository):
    found = find(
        laptop,
        repository,
        {
            ".gitattributes": "*.png filter=lfs -text\n/VERSION export-subst\n",
            "logo.png": POINTER,
            "real.png": "\x89PNG" * 50,
            "keys/.gitattributes": "* filter=git-crypt\n.gitattributes !filter\n",
            "keys/a\nb": "sealed",
            "VERSION": "$Format:%H$\n",
            "without/attributes.bin": POINTER,
        },
    )
    assert sorted(found.pointers) == ["logo.png", "without/attributes.bin"]
    assert found.attributes == {
        ("export-subst", "set"): ["VERSION"],
        ("filter", "git-crypt"): ["keys/a\nb"],
    }
    notes = describe(found)
    assert "Git LFS is not supported: logo.png, without/attributes.bin contain" in notes[0]
    assert any("'git-crypt' does not run here" in note and "keys/a<LF>b" in note for note in notes)


def test_a_commit_without_any_of_them_has_no_notes(laptop, repository):
    found = find(laptop, repository, {"a": "x" * 150, ".gitattributes": "*.lock -merge\n"})
    assert (found, describe(found)) == (LeftOut(), [])


def test_a_long_list_of_files_says_how_many_it_omits():
    assert name_files([str(number) for number in range(12)]).endswith("8, 9 and 2 more")

"""A repository behind ssh: read with the Secret's key, of a host that known_hosts vouches for, and of no other."""

from __future__ import annotations

import base64
import hmac
import pwd
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import asyncssh
import pytest
from dulwich.repo import Repo
from tests.e2e.ssh_host import Host
from tests.unit.retrieval.conftest import seen
from tests.unit.retrieval.test_index_plan import begun
from tests.unit.retrieval.test_places import NOWHERE, commit, read, source

from llmops.api import Settings
from llmops.retrieval.ingest.places import repository
from llmops.retrieval.ingest.places.listing import Listing
from llmops.retrieval.plan import plan
from llmops.retrieval.sources import behind_an_address
from llmops.retrieval.work import SourceWork
from llmops.web import Passing, Wrong


@dataclass
class Behind:
    """A repository, its host, and the Secret as it is mounted."""

    repo: Repo
    host: Host
    secret: Path
    key: asyncssh.SSHKey

    def source(
        self, path: str = "/shop/docs.git", user: str = "git@", ref: str = "HEAD", inside: str = "/"
    ) -> SourceWork:
        address = f"ssh://{user}127.0.0.1:{self.host.port}{path}"
        return source("git", address, ref=ref, path=inside, secret="deploy")

    def look(self, one: SourceWork | None = None) -> Listing:
        return repository.look(one or self.source(), NOWHERE, self.secret)


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Behind]:
    made = Repo.init(str(tmp_path / "repo"), mkdir=True)
    (tmp_path / "repo/docs").mkdir()
    commit(made, {"README.md": "read me", "docs/a.md": "one"})
    key, secret = asyncssh.generate_private_key("ssh-ed25519"), tmp_path / "secret"
    host = Host({"/shop/docs.git": tmp_path / "repo"}, [key])
    secret.mkdir()
    (secret / "ssh-privatekey").write_bytes(key.export_private_key())
    (secret / "known_hosts").write_text(host.known_hosts())
    yield Behind(made, host, secret, key)
    host.close()
    made.close()


def test_a_repository_is_read_over_ssh_at_the_commit_that_its_branch_names(behind: Behind) -> None:
    first = behind.look(behind.source(inside="/docs"))
    assert first.version == behind.repo.head().decode()
    assert read(first) == {"a.md": b"one"}
    second = commit(behind.repo, {"docs/b.md": "two"})
    assert behind.look().version == second
    assert set(read(behind.look(behind.source(ref="master")))) == {"README.md", "docs/a.md", "docs/b.md"}
    assert set(read(behind.look(behind.source(ref=first.version)))) == {"README.md", "docs/a.md"}
    assert set(behind.host.asked) == {("git", "git-upload-pack '/shop/docs.git'")}


def test_a_file_of_megabytes_comes_whole(behind: Behind) -> None:
    text = "".join(f"{n:x} {n * n:x}\n" for n in range(200_000))
    commit(behind.repo, {"docs/large.md": text})
    assert read(behind.look())["docs/large.md"] == text.encode()


def test_a_user_that_the_address_names_is_asked_as_and_git_without_one(behind: Behind) -> None:
    for user in ("anna@", ""):
        behind.look(behind.source(user=user))
    assert [who for who, _ in behind.host.asked] == ["anna", "git"]


def test_a_pods_user_needs_no_name_and_nobodys_home_is_read(
    behind: Behind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unknown(uid: int) -> NoReturn:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home/.ssh"
    home.mkdir(parents=True)
    (home / "config").write_text("Host *\n  ProxyCommand false\n")
    monkeypatch.setenv("HOME", str(home.parent))
    assert set(read(behind.look())) == {"README.md", "docs/a.md"}


@pytest.mark.parametrize("hosts", ["", "\n", "# nobody\n", "example.org ssh-ed25519 AAAA", "elsewhere"])
def test_a_host_that_nobody_vouches_for_is_asked_nothing(
    behind: Behind, hosts: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").write_text(behind.host.known_hosts())  # of this machine, not of the Secret
    monkeypatch.setenv("HOME", str(tmp_path))
    other = behind.host.known_hosts().replace("127.0.0.1", "127.0.0.2")
    (behind.secret / "known_hosts").write_text(other if hosts == "elsewhere" else hosts)
    with pytest.raises(Wrong, match=r"ssh-keyscan -p \d+ 127\.0\.0\.1` prints there, once you have compared it"):
        behind.look()
    (behind.secret / "known_hosts").unlink()
    with pytest.raises(
        Wrong, match=r"there is no known_hosts in Secret deploy, so anybody could answer as 127\.0\.0\.1"
    ):
        behind.look()
    assert behind.host.asked == []


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
def test_a_host_with_another_key_is_asked_nothing(behind: Behind, kind: str) -> None:
    (behind.secret / "known_hosts").write_text(behind.host.known_hosts(asyncssh.generate_private_key(kind)))
    with pytest.raises(Wrong, match=r"shows another key than known_hosts has for it .*somebody may stand in between"):
        behind.look()
    assert behind.host.asked == []


def test_hosts_may_be_written_as_hashes_and_by_a_wildcard(behind: Behind) -> None:
    key, name, salt = behind.host.key.export_public_key().decode(), f"[127.0.0.1]:{behind.host.port}", bytes(range(20))
    hashed = [base64.b64encode(one).decode() for one in (salt, hmac.digest(salt, name.encode(), "sha1"))]
    for written in (f"|1|{'|'.join(hashed)}", "127.0.0.*", f"[127.0.0.*]:{behind.host.port}"):
        (behind.secret / "known_hosts").write_text(f"{written} {key}")
        assert behind.look().version == behind.repo.head().decode()
    (behind.secret / "known_hosts").write_text(f"127.0.0.* {key}@revoked 127.0.0.1 {key}")
    with pytest.raises(Wrong, match="shows another key than known_hosts has"):
        behind.look()


def test_a_key_that_is_not_let_in_or_cannot_be_read_says_what_to_write(behind: Behind) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    given = behind.secret / "ssh-privatekey"
    given.write_bytes(other.export_private_key())
    shown = re.escape(other.get_fingerprint())
    with pytest.raises(Wrong, match=f"does not let git in with the key {shown}: .*deploy key"):
        behind.look()
    given.write_text("ssh-ed25519 AAAA a public one")
    with pytest.raises(Wrong, match=r"ssh-privatekey in Secret deploy cannot be read .* from BEGIN to END"):
        behind.look()
    given.write_bytes(other.export_private_key("pkcs8-pem", passphrase="secret"))
    with pytest.raises(Wrong, match="has a passphrase"):
        behind.look()
    given.unlink()
    with pytest.raises(Wrong, match="there is no ssh-privatekey in Secret deploy"):
        behind.look()
    with pytest.raises(Wrong, match=r"needs a Secret with ssh-privatekey and known_hosts: name it as git\.cred"):
        repository.look(source("git", "ssh://git@127.0.0.1/docs.git", ref="HEAD"), NOWHERE, NOWHERE)


# dulwich leaves its Protocol open where the other side hangs up
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_the_other_side_says_is_told(behind: Behind) -> None:
    with pytest.raises(Wrong, match=r"'/other\.git' does not appear to be a git repository: correct git\.url"):
        behind.look(behind.source("/other.git"))
    with pytest.raises(Wrong, match=r"no branch or tag 'nope': correct git\.ref"):
        behind.look(behind.source(ref="nope"))


def test_an_address_as_git_takes_it_says_how_to_write_it(behind: Behind) -> None:
    with pytest.raises(Wrong, match="write ssh://git@host/path"):
        behind.look(source("git", "ssh://git@git.example.org:shop/docs.git", ref="HEAD", secret="deploy"))


def test_a_host_that_is_away_may_come_back(behind: Behind) -> None:
    with socket.socket() as nobody:  # bound and not listening, it refuses; a port let go somebody else may take
        nobody.bind(("127.0.0.1", 0))
        behind.host.port = nobody.getsockname()[1]
        with pytest.raises(Passing, match="docs: ssh://"):
            behind.look()


def test_the_job_is_given_the_key_and_the_hosts_and_nothing_else_of_the_secret() -> None:
    address = {"url": "ssh://git@git.example.org/shop/docs.git", "credentialsSecretRef": {"name": "deploy"}}
    spec = {"sources": [{"name": "docs", "git": address}]}
    docs = behind_an_address(seen(spec).index.spec.sources[0], Settings())
    job = begun(plan(seen(spec, sources=(docs,))))
    (secret,) = [one["secret"] for one in job["spec"]["template"]["spec"]["volumes"] if "secret" in one]
    assert secret["secretName"] == "deploy"
    assert [one["key"] for one in secret["items"]] == ["username", "password", "ssh-privatekey", "known_hosts"]

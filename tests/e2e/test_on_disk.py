"""The mapping files of an `OnDisk` key manager, made, read and removed by the confined key store."""

import hashlib
from pathlib import Path

from tests.harness.answers import refused
from tests.harness.pkcs11.service import TokenService

from cofferdam_client import Curve, Hash, Status, ecc_signing_key, ecdsa
from cofferdam_kim.mapping_files import Parts, decode, mapped_by
from cofferdam_kim.mapping_mirror import DATABASE

KEY = ecc_signing_key(Curve.P_256, Hash.SHA_256)
DIGEST = hashlib.sha256(b"message").digest()


def mapping_files(root: Path) -> dict[str, bytes]:
    """Return the contents of the files by the names of the keys."""
    files = {path.relative_to(root).parts: path for path in root.glob("*/**/*") if path.is_file()}
    return {key_name(parts): path.read_bytes() for parts, path in files.items()}


def key_name(parts: Parts) -> str:
    mapped = mapped_by(parts)
    assert mapped is not None
    return mapped.key_name


def test_keys_live_in_mapping_files_and_are_served_from_these_alone() -> None:
    service = TokenService()
    root = service.folder / "mappings"
    service.set_table("key_manager", manager_type="OnDisk", store_path=str(root))
    service.set_table("kim", give_back=True)
    with service, service.client() as client:
        for name in ("kept", "gone"):
            client.generate_key(name, KEY)
        files = mapping_files(root)
        assert set(files) == {"kept", "gone"}
        assert len(decode(files["kept"])[0]) == 4
        client.destroy_key("gone")
        assert mapping_files(root) == {"kept": files["kept"]}
        service.service.stop()
        # What the reference leaves, and an interrupted change of its.
        for path in root.glob(f"{DATABASE}*"):
            path.unlink()
        (folder,) = root.glob("*/2")
        (folder / "aGFsZg==").write_bytes(files["gone"][:9])
        service.set_table("kim", give_back=True, adopt_rows=True)
        service.start()
        client.sign_hash("kept", DIGEST, ecdsa())
        assert [key.name for key in client.list_keys()] == ["kept"]
        with refused(Status.PSA_ERROR_DATA_CORRUPT):
            client.sign_hash("half", DIGEST, ecdsa())
        assert mapping_files(root) == {"kept": files["kept"], "half": files["gone"][:9]}
        assert "is not served: undecodable attributes" in service.service.log()

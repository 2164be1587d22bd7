"""Change what stands around a bundle's model: sign it, or bring its manifest up to date."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from automl.bundle import layout
from automl.bundle.card import model_card
from automl.bundle.checksums import render_checksums
from automl.bundle.files import sha256
from automl.bundle.manifest import SCHEMA_VERSION, Digests, manifest_json, parse_manifest
from automl.bundle.packing import sound_contents, write_contents
from automl.bundle.signature import Signature, shown_id
from automl.errors import UsageError
from automl.store.atomic import json_text

if TYPE_CHECKING:
    from automl.bundle.keys import SecretKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """The versions before and after; `lost_signature` is the id of the key that had signed it."""

    before: int
    after: int
    lost_signature: str | None


def sign_bundle(bundle: Path, key: SecretKey) -> None:
    """Put a signature into a bundle, packed or not, in place of one that it had.

    Raises BundleError for a damaged bundle: what is signed is known to be whole.
    """
    contents = sound_contents(bundle)
    name = parse_manifest(contents[layout.MANIFEST].decode()).name
    checksums = contents[layout.CHECKSUMS]
    signature = key.sign(checksums, f"automl bundle {name}")
    write_contents(bundle, {**contents, layout.SIGNATURE: signature.text().encode()})


def migrate_bundle(bundle: Path) -> Migration:
    """Rewrite a bundle's manifest and card in the present version; model and samples stay.

    The digest of the model is added, and a signature is dropped, since it is one of the earlier
    manifest. Raises BundleError for a damaged bundle, UsageError where there is nothing to do.
    """
    contents = sound_contents(bundle)
    before: int = json.loads(contents[layout.MANIFEST])["schema_version"]
    if before == SCHEMA_VERSION:
        raise UsageError(f"{bundle}: has schema_version {before} already; nothing to do")
    manifest = parse_manifest(contents[layout.MANIFEST].decode())
    if manifest.digests is None:
        digests = Digests(core=None, model=sha256(contents[layout.MODEL]))
        manifest = manifest.model_copy(update={"digests": digests})
    signature = contents.pop(layout.SIGNATURE, None)
    contents[layout.MANIFEST] = json_text(manifest_json(manifest)).encode()
    contents[layout.CARD] = model_card(manifest).encode()
    del contents[layout.CHECKSUMS]
    digests_by_name = {name: sha256(content) for name, content in contents.items()}
    contents[layout.CHECKSUMS] = render_checksums(digests_by_name)
    write_contents(bundle, contents)
    return Migration(
        before=before,
        after=SCHEMA_VERSION,
        lost_signature=None if signature is None else shown_id(Signature.parse(signature).key_id),
    )

"""Certificate authorities and what they sign, made with openssl: independent of the library that checks them."""

import pathlib
import subprocess


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


class Authority:
    """A root, or with `above` an intermediate."""

    def __init__(self, folder, name, above=None):
        self.folder = pathlib.Path(folder)
        self.above = above
        self.name = name
        stem = self.folder / name.replace(" ", "-")
        self.key, self.certificate = stem.with_suffix(".key"), stem.with_suffix(".pem")
        if above is None:
            openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                    "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.certificate,
                    "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
        else:
            above.issue(name, self.key, self.certificate, "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign", 30)

    def issue(self, name, key, certificate, extensions, days):
        request, extra = certificate.with_suffix(".csr"), certificate.with_suffix(".ext")
        extra.write_text(extensions)
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-subj", f"/CN={name}", "-keyout", key, "-out", request)  # fmt: skip
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                "-days", str(days), "-extfile", extra, "-out", certificate)  # fmt: skip

    def sign(self, name, file=None):
        """A client certificate of this name: (file with the certificate and the intermediates above it, file with the key)."""
        stem = self.folder / (file or name)
        key, certificate = stem.with_suffix(".key"), stem.with_suffix(".pem")
        self.issue(name, key, certificate, "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth", 10)
        chain, authority = certificate.read_text(), self
        while authority.above is not None:
            chain += authority.certificate.read_text()
            authority = authority.above
        certificate.write_text(chain)
        return str(certificate), str(key)

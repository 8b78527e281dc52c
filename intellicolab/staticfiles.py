"""Static files with hashed names, ES module imports included, served by WhiteNoise's files before Django is entered."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class ModuleManifestStorage(CompressedManifestStaticFilesStorage):
    """Hashes names and rewrites `import … from "./x.js"`, so a browser may keep every module for ever."""

    support_js_module_import_aggregation = True

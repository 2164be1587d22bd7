"""The stages of a study: each reads files and writes files."""

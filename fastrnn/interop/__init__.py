"""Other people's models: one module per framework, none of which `import fastrnn` loads."""

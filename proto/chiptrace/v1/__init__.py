"""The wire: schema and generated code; nothing else."""

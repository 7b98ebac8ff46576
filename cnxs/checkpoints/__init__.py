"""Reading and writing control networks: our format, the authors' files, diffusers' adapters. Strict both ways."""

"""The page of the studio. Knows the backend only as `cnxs.protocol.Backend`."""

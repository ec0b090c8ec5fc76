"""The server of the control plane: no slow client holds one of its threads."""

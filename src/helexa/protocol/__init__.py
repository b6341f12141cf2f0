"""Everything that crosses a wire, as frozen structs, and the ports that both roles share. Pure."""

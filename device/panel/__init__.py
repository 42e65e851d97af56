"""Button, wake line and status light, behind one port."""

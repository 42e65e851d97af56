"""Every error of the desk; the text is one line that names the thing and the mend."""


class FleetError(Exception):
    """Root: what the owner of the fleet can mend."""


class InventoryError(FleetError):
    """The inventory, or a file that it names, cannot be used."""


class SecretError(FleetError):
    """A secret cannot be read."""


class MediaError(FleetError):
    """A first-boot medium cannot be written: its partition, the bundle or a file for it is wrong."""

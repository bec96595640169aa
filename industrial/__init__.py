"""What runs inside a virtual PLC: compiler, scan engine, Modbus and OPC UA. Free of Django and libvirt."""

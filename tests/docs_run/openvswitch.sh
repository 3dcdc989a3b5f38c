# For a page's shell to read in: the lab's Open vSwitch (tests/vm/openvswitch.py) runs in the page's
# namespace, with its files in the page's folder. It ends with the shell.
modprobe openvswitch
export PATH="$(echo "$RETIS_OVS_CACHE"/[0-9]*):$PATH"
export OVS_RUNDIR="$PWD/ovs"
export OVS_LOGDIR="$OVS_RUNDIR" OVS_DBDIR="$OVS_RUNDIR"
mkdir "$OVS_RUNDIR"
ovsdb-tool create "$OVS_DBDIR/conf.db" "${PATH%%:*}/vswitch.ovsschema"
ovsdb-server --remote="punix:$OVS_RUNDIR/db.sock" --pidfile --no-chdir --log-file &
until [ -S "$OVS_RUNDIR/db.sock" ]; do sleep 0.1; done
ovs-vsctl --no-wait init
ovs-vswitchd --pidfile --no-chdir --log-file &

package harness

// Settings are what a daemon does otherwise than those of [Start]; the zero value is nothing.
type Settings struct {
	// Enable are the full names of plugins that are off otherwise, as in "io.containerd.snapshotter.v1.btrfs".
	Enable []string
	// Config is TOML that ends the daemon's configuration: tables of plugins.
	Config string
}

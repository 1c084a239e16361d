package engine

// resend is gRPC's service configuration. It makes the connection send a call
// again if the call or its answer was lost, for example because the daemon
// restarts: up to five times, within about three seconds.
//
// It lists idempotent calls only: calls that read, that set a value, or that
// remove something. Calls that create something under a name, such as a
// snapshot's key, are not idempotent, since the second one fails. Creating a lease
// is listed all the same: its name is random, so if it exists already, the first
// call succeeded.
const resend = `{"methodConfig": [{
	"name": [
		{"service": "containerd.services.containers.v1.Containers", "method": "Get"},
		{"service": "containerd.services.containers.v1.Containers", "method": "List"},
		{"service": "containerd.services.content.v1.Content", "method": "Abort"},
		{"service": "containerd.services.content.v1.Content", "method": "Info"},
		{"service": "containerd.services.content.v1.Content", "method": "ListStatuses"},
		{"service": "containerd.services.content.v1.Content", "method": "Status"},
		{"service": "containerd.services.content.v1.Content", "method": "Update"},
		{"service": "containerd.services.images.v1.Images", "method": "Get"},
		{"service": "containerd.services.images.v1.Images", "method": "List"},
		{"service": "containerd.services.images.v1.Images", "method": "Update"},
		{"service": "containerd.services.leases.v1.Leases", "method": "AddResource"},
		{"service": "containerd.services.leases.v1.Leases", "method": "Create"},
		{"service": "containerd.services.leases.v1.Leases", "method": "Delete"},
		{"service": "containerd.services.leases.v1.Leases", "method": "List"},
		{"service": "containerd.services.leases.v1.Leases", "method": "ListResources"},
		{"service": "containerd.services.namespaces.v1.Namespaces", "method": "List"},
		{"service": "containerd.services.snapshots.v1.Snapshots", "method": "Mounts"},
		{"service": "containerd.services.snapshots.v1.Snapshots", "method": "Remove"},
		{"service": "containerd.services.snapshots.v1.Snapshots", "method": "Stat"},
		{"service": "containerd.services.tasks.v1.Tasks", "method": "Get"}
	],
	"retryPolicy": {
		"maxAttempts": 5, "initialBackoff": "0.2s", "maxBackoff": "2s", "backoffMultiplier": 2,
		"retryableStatusCodes": ["UNAVAILABLE"]
	}
}]}`

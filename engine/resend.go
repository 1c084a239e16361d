package engine

// resend makes the connection send a call again whose answer was lost, or that
// did not arrive, as when the daemon restarts: at most five times, within some
// three seconds. It is for calls that are as good as one when they are done
// twice: those that only read, that set what is to be, or that remove, and so
// find nothing the second time. Calls that make something under a name (a
// snapshot's key, a writer's ref) are left to who made the name up; that of a
// lease is random, so that its existing already is the answer that was lost.
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

// Package kubelet has a real kubelet run what Veneer builds: from pods in files, without a control plane, pods by tag and by
// digest, an update, a pod that waits for its image, the garbage collection of images, and the pods of contrib/kubernetes;
// with a control plane a deployment that is rolled to the next image and back.
//
// The tests run in a mount namespace and a network namespace of their own, in which the paths that a node has are theirs:
// /run, /srv, /var/lib and /var/log are empty when they begin.
package kubelet

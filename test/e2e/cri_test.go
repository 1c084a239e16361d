package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/test/harness"
)

// criMessage makes a message of a struct whose fields have protobuf's tags. Those below are of k8s.io/cri-api,
// pkg/apis/runtime/v1/api.proto, as far as they are needed: for so few that module would become a dependency of Veneer's.
type criMessage struct{}

func (*criMessage) Reset()         {}
func (*criMessage) String() string { return "" }
func (*criMessage) ProtoMessage()  {}

type (
	imageSpec struct {
		criMessage
		Image string `protobuf:"bytes,1,opt,name=image,proto3"`
	}
	imageRequest struct { // of ImageStatus and RemoveImage
		criMessage
		Image *imageSpec `protobuf:"bytes,1,opt,name=image,proto3"`
	}
	criImage struct {
		criMessage
		ID          string   `protobuf:"bytes,1,opt,name=id,proto3"`
		RepoTags    []string `protobuf:"bytes,2,rep,name=repo_tags,proto3"`
		RepoDigests []string `protobuf:"bytes,3,rep,name=repo_digests,proto3"`
		Size        uint64   `protobuf:"varint,4,opt,name=size,proto3"`
		Pinned      bool     `protobuf:"varint,8,opt,name=pinned,proto3"`
	}
	imageStatus struct {
		criMessage
		Image *criImage `protobuf:"bytes,1,opt,name=image,proto3"`
	}
	imageList struct {
		criMessage
		Images []*criImage `protobuf:"bytes,1,rep,name=images,proto3"`
	}
)

type (
	podConfig struct {
		criMessage
		Metadata *podMetadata `protobuf:"bytes,1,opt,name=metadata,proto3"`
		Linux    *podLinux    `protobuf:"bytes,8,opt,name=linux,proto3"`
	}
	podMetadata struct {
		criMessage
		Name      string `protobuf:"bytes,1,opt,name=name,proto3"`
		UID       string `protobuf:"bytes,2,opt,name=uid,proto3"`
		Namespace string `protobuf:"bytes,3,opt,name=namespace,proto3"`
	}
	podLinux struct {
		criMessage
		Security *podSecurity `protobuf:"bytes,2,opt,name=security_context,proto3"`
	}
	podSecurity struct {
		criMessage
		Namespaces *podNamespaces `protobuf:"bytes,1,opt,name=namespace_options,proto3"`
	}
	podNamespaces struct {
		criMessage
		Network int32 `protobuf:"varint,1,opt,name=network,proto3"`
	}
	podRequest struct { // of RunPodSandbox
		criMessage
		Config *podConfig `protobuf:"bytes,1,opt,name=config,proto3"`
	}
	criID struct { // of a pod or a container, in requests and answers
		criMessage
		ID string `protobuf:"bytes,1,opt,name=id,proto3"`
	}
	containerConfig struct {
		criMessage
		Metadata *criID     `protobuf:"bytes,1,opt,name=metadata,proto3"`
		Image    *imageSpec `protobuf:"bytes,2,opt,name=image,proto3"`
		Command  []string   `protobuf:"bytes,3,rep,name=command,proto3"`
	}
	containerRequest struct { // of CreateContainer
		criMessage
		Pod       string           `protobuf:"bytes,1,opt,name=pod_sandbox_id,proto3"`
		Config    *containerConfig `protobuf:"bytes,2,opt,name=config,proto3"`
		PodConfig *podConfig       `protobuf:"bytes,3,opt,name=sandbox_config,proto3"`
	}
	nothing struct{ criMessage }
)

func (i *criImage) String() string { return fmt.Sprintf("%+v", *i) }

// hostNetwork is NamespaceMode NODE: a pod that needs no network plugin.
const hostNetwork = 2

// pauseImage is what each pod's first container runs.
const pauseImage = "docker.io/library/pause:1"

// withCRI turns on what the kubelet speaks to. Of network plugins there are none: their directory is the test's. Where
// even root may not save a process from a lack of memory, pods are as likely to be killed as this process.
func withCRI(t *testing.T, kind harness.DaemonKind) harness.Settings {
	t.Helper()
	if kind == harness.Containerd2 {
		return harness.Settings{
			Enable: []string{"io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"},
			Config: fmt.Sprintf(`[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = %q
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  conf_dir = %q
`, pauseImage, t.TempDir()),
		}
	}
	return harness.Settings{
		Enable: []string{"io.containerd.grpc.v1.cri"},
		Config: fmt.Sprintf(`[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  conf_dir = %q
`, pauseImage, t.TempDir()),
	}
}

// kubelet does what a kubelet does with images, by the daemon's socket. Its place is the namespace of Kubernetes.
type kubelet struct {
	*place
	conn *grpc.ClientConn
}

// newKubelet starts a daemon that a kubelet could use.
func newKubelet(t *testing.T, kind harness.DaemonKind) kubelet {
	t.Helper()
	d := harness.StartWith(t, kind, withCRI(t, kind))
	p := newPlace(t, d, "overlayfs").in(t, "k8s.io")
	conn, err := grpc.NewClient("unix://"+d.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { must(t, conn.Close()) })
	k := kubelet{p, conn}
	soon(t, func() error { return k.call("ImageService/ListImages", &nothing{}, &imageList{}) })
	return k
}

func (k kubelet) call(method string, request, answer any) error {
	return k.conn.Invoke(k.ctx, "/runtime.v1."+method, request, answer)
}

// images are all that the kubelet sees.
func (k kubelet) images(t *testing.T) []*criImage {
	t.Helper()
	var list imageList
	must(t, k.call("ImageService/ListImages", &nothing{}, &list))
	return list.Images
}

// image is what the kubelet finds by a name or an ID; nil: nothing.
func (k kubelet) image(t *testing.T, name string) *criImage {
	t.Helper()
	var status imageStatus
	must(t, k.call("ImageService/ImageStatus", &imageRequest{Image: &imageSpec{Image: name}}, &status))
	return status.Image
}

// wantImage waits until the kubelet knows what Veneer means by the name, and by no other one, and returns it.
func (k kubelet) wantImage(t *testing.T, name string) *criImage {
	t.Helper()
	img, err := content.Resolve(k.ctx, k.engine.Client, name, "")
	must(t, err)
	size := img.Manifest.Size
	for _, blob := range append([]ocispec.Descriptor{img.ConfigDesc}, img.Layers...) {
		size += blob.Size
	}
	var got *criImage
	soon(t, func() error {
		got = k.image(t, name)
		if got == nil || got.ID != img.ConfigDesc.Digest.String() || got.Size != uint64(size) || !slices.Contains(got.RepoTags, name) {
			return fmt.Errorf("%s is %+v to the kubelet, want ID %s and %d bytes", name, got, img.ConfigDesc.Digest, size)
		}
		if !slices.ContainsFunc(k.images(t), func(i *criImage) bool { return i.ID == got.ID && slices.Contains(i.RepoTags, name) }) {
			return fmt.Errorf("%s is not among %+v", name, k.images(t))
		}
		return nil
	})
	return got
}

// wantGone waits until the kubelet has nothing of an image any more.
func (k kubelet) wantGone(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		soon(t, func() error {
			if img := k.image(t, id); img != nil {
				return fmt.Errorf("the kubelet still has %s: %+v", id, img)
			}
			return nil
		})
	}
}

// run runs a command of an image in a pod, which goes with the test, and returns the container's ID.
func (k kubelet) run(t *testing.T, image string, command ...string) (container string) {
	t.Helper()
	config := &podConfig{
		Metadata: &podMetadata{Name: "pod", UID: t.Name(), Namespace: "default"},
		Linux:    &podLinux{Security: &podSecurity{Namespaces: &podNamespaces{Network: hostNetwork}}},
	}
	var pod, created criID
	must(t, k.call("RuntimeService/RunPodSandbox", &podRequest{Config: config}, &pod))
	t.Cleanup(func() {
		must(t, k.call("RuntimeService/StopPodSandbox", &pod, &nothing{}), k.call("RuntimeService/RemovePodSandbox", &pod, &nothing{}))
	})
	must(t, k.call("RuntimeService/CreateContainer", &containerRequest{
		Pod: pod.ID, PodConfig: config,
		Config: &containerConfig{Metadata: &criID{ID: "container"}, Image: &imageSpec{Image: image}, Command: command},
	}, &created))
	must(t, k.call("RuntimeService/StartContainer", &created, &nothing{}))
	return created.ID
}

// soon tries for a while what is to come true by itself.
func soon(t *testing.T, try func() error) {
	t.Helper()
	var err error
	for start := time.Now(); time.Since(start) < 5*time.Second; time.Sleep(20 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Error(err)
}

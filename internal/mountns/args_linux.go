package mountns

import (
	"errors"
	"syscall"
)

// Args are the arguments that the program was started with, as os.Args has them. nil:
// there is no /proc.
func Args() []string {
	fd, err := syscall.Open("/proc/self/cmdline", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(fd) //nolint:errcheck // only read
	var args []string
	var arg []byte
	for buf := make([]byte, 4096); ; {
		n, err := syscall.Read(fd, buf)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return nil
		}
		if n == 0 {
			return args
		}
		for _, c := range buf[:n] {
			if c != 0 {
				arg = append(arg, c)
				continue
			}
			args, arg = append(args, string(arg)), arg[:0]
		}
	}
}

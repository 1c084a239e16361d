package main

import "testing"

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 8 << 20: 400, 16 << 20: 150, 32 << 20: 25, 36 << 20: 15, 40 << 20: 15, 60 << 20: 15, 100 << 20: 25, 128 << 20: 32, 200 << 20: 32, 400 << 20: 16, 1 << 30: 15} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d MB live: %d %%, want %d", live>>20, got, want)
		}
	}
}

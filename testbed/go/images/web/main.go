// web stands in for server images in tests. It prints its tag, answers 200 on PORT (80 unless set) with the
// host's name and its tag, and ends at SIGTERM. EXIT_CODE makes it end at once; START_DELAY (a Go duration)
// makes it answer later.
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	tag, _ := os.ReadFile("/tag")
	fmt.Printf("started %s\n", tag)
	if code, err := strconv.Atoi(os.Getenv("EXIT_CODE")); err == nil {
		os.Exit(code)
	}
	go serve(tag)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	<-stop
}

// serve never ends the process: two web containers of one pod share a network namespace, the port may be taken.
func serve(tag []byte) {
	if delay, err := time.ParseDuration(os.Getenv("START_DELAY")); err == nil {
		time.Sleep(delay)
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "80"
	}
	host, _ := os.Hostname()
	err := http.ListenAndServe(":"+port, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s %s\n", host, tag)
	}))
	fmt.Println("listen:", err)
}
